"""Lists of categories, compared."""

import itertools


def first_difference(names, others):
  """Returns the first pair of entries that differ; None stands where a sequence has ended."""
  pairs = itertools.zip_longest(names, others)
  return next(pair for pair in pairs if pair[0] != pair[1])
