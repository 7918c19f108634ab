"""The confusion matrix of instances: every instance and every result is counted once."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mnc_jax.evaluation.metrics.errors import ImageErrors, Judged


def confusion_matrix(errors: Iterable[ImageErrors], categories: Sequence[Any]) -> np.ndarray:
  """Counts which category instances of each category were given.

  An instance counts for the result that found it; without one, for the best result of another
  category with its mask ("confusion" in `errors.py`); without either it is missed. A result that
  counts for no instance is a false positive; those that are ignored (in crowd regions) do not
  count.

  Args:
    errors: of all images.
    categories: the C ids, in the order of rows and columns.

  Returns:
    [C + 1, C + 1] int64. Row: category of the instance, the last row: no instance (false
    positives). Column: category that was given, the last column: missed. The sum of a row is the
    number of instances, that of a column the number of results. The last entry is 0.
  """
  index = {category: row for row, category in enumerate(categories)}
  counts = np.zeros((len(index) + 1, len(index) + 1), np.int64)
  for one in errors:
    given = _assign(one.results)
    for row, judged in enumerate(one.results):
      if judged.kind == "ignored":
        continue
      right = len(index)
      if judged.instance is not None and given.get(judged.instance) == row:
        right = index[one.annotations[judged.instance]["category_id"]]
      counts[right, index[judged.record["category_id"]]] += 1
    for missed in one.missed:
      if missed.instance not in given:
        counts[index[one.annotations[missed.instance]["category_id"]], -1] += 1
  return counts


def _assign(results: Sequence[Judged]) -> dict:
  """Returns {instance: index of the result that it counts for}."""
  given = {}
  for kind in ("found", "confusion"):  # Results are sorted: the best comes first.
    for row, judged in enumerate(results):
      if judged.kind == kind:
        given.setdefault(judged.instance, row)
  return given
