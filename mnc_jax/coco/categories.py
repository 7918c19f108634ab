"""Lists of categories, compared."""

from collections.abc import Sequence
import itertools


def with_ids(names: Sequence[str], ids: Sequence[int]) -> list[str]:
  """Returns `name (id 7)` of each category: to compare names and ids together."""
  return [f"{name} (id {category_id})" for name, category_id in zip(names, ids, strict=True)]


def check_same_categories(names: Sequence[str], others: Sequence[str], *, first: str, second: str,
                          advice: str = "") -> None:
  """Checks that two lists of categories are equal, in the same order.

  Args:
    names: of the categories.
    others: to compare with.
    first: what messages call the owner of `names`, for example "the model".
    second: what messages call the owner of `others`.
    advice: ends the message: what to do.

  Raises:
    ValueError: with the first difference.
  """
  for number, (one, other) in enumerate(itertools.zip_longest(names, others), 1):
    if one != other:
      one, other = ("missing" if name is None else repr(name) for name in (one, other))
      raise ValueError(
          f"{first} has {len(names)} categories, {second} has {len(others)}; number {number} is "
          f"{one} in the first and {other} in the second{advice}")
