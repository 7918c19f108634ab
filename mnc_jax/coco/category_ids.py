"""Results whose category names contradict their category ids."""

from collections.abc import Mapping
from typing import Any
import warnings

from mnc_jax.coco.faults import list_first
from mnc_jax.coco.named_ids import check_all_named, find_pairs
from mnc_jax.coco.schema import Row


def correct_category_ids(results: Any, categories: Mapping[int, Row], *, name: str,
                         results_name: str) -> Any:
  """Returns the results with the ids of their category names, where these contradict the ids.

  `mnc predict` without the ground truth writes the ids that the model was trained with; another
  file may have the same categories under other ids. Nothing changes if results have no
  `category_name`, or if names and ids agree.

  Args:
    results: list of results, not checked yet.
    categories: rows of the ground truth, by id.
    name: what messages call the ground truth.
    results_name: what messages call the results.

  Warns:
    If ids are replaced, with an example.

  Raises:
    ValueError: if names contradict ids, but the ground truth lacks a name, or a result has none.
  """
  named = find_pairs(results, "category_id", "category_name")
  id_of = {row["name"]: category_id for category_id, row in categories.items()}
  wrong = [pair for pair in named if id_of.get(pair[1]) != pair[0]]
  if not wrong:
    return results
  unknown = list(dict.fromkeys(category for _, category in wrong if category not in id_of))
  if unknown:
    raise ValueError(
        f"{results_name}: results with {len(unknown)} unknown category_name: {list_first(unknown)};"
        f" {name} has {list_first(id_of)}: rename the categories in one of the files, or remove "
        "category_name from all results to match categories by id")
  check_all_named(results, "category_name",
                  f"another has the category id {wrong[0][0]}, but the name {wrong[0][1]!r}, which "
                  f"has another id in {name}", results_name)
  category_id, category = wrong[0]
  meant = (f"{categories[category_id]['name']!r} in {name}" if category_id in categories
           else f"no category of {name}")
  warnings.warn(
      f"{results_name}: category ids contradict category names (id {category_id} is {category!r} "
      f"there and {meant}): categories were matched by name", stacklevel=3)
  return [row | {"category_id": id_of[row["category_name"]]} for row in results]
