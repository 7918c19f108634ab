"""Results whose file names contradict their image ids."""

from collections.abc import Mapping
from typing import Any
import warnings

from mnc_jax.coco.faults import list_first
from mnc_jax.coco.file_names import find_keys, index_names
from mnc_jax.coco.named_ids import check_all_named, find_pairs
from mnc_jax.coco.schema import Row, is_integer


def correct_image_ids(results: Any, images: Mapping[int, Row], *, name: str, results_name: str
                      ) -> Any:
  """Returns the results with the image ids of their file names, where these contradict the ids.

  Ids are positions in a list for one program and keys of a data base for another; file names say
  which image is meant. Nothing changes if either side has no file names, if the two have none in
  common, or if names and ids agree.

  Args:
    results: list of results, not checked yet.
    images: rows of the ground truth, by id.
    name: what messages call the ground truth.
    results_name: what messages call the results.

  Warns:
    If ids are replaced, with an example, and if results of other files are left out, with their
    number. If no file name of the results is in the ground truth.

  Raises:
    ValueError: if names contradict ids, but a result has no name, or one that fits several images.
  """
  index = _index(images)
  named = find_pairs(results, "image_id", "file_name")
  if not named or not index:
    return results
  found = {file_name: find_keys(file_name, index) for _, file_name in named}
  if not any(found.values()):
    warnings.warn(f"{results_name}: none of its {len(found)} file names, such as "
                  f"{next(iter(found))!r}, is in {name}: images are matched by id", stacklevel=3)
    return results
  wrong = [pair for pair in named if pair[0] not in found[pair[1]]]
  if not wrong:
    return results
  kept = [row for row in results if _is_known(row, found)]
  if not any(found[file_name] for _, file_name in wrong):
    _warn_of_others(found, len(results) - len(kept), name, results_name)
    return kept
  known = next(pair for pair in wrong if found[pair[1]])
  _check_names(results, found, known, name, results_name)
  _warn(images, known, name, results_name, _has_categories(results))
  if len(kept) < len(results):
    _warn_of_others(found, len(results) - len(kept), name, results_name)
  return [row | {"image_id": found[row["file_name"]][0]} for row in kept]


def find_used_ids(results: Any, images: Mapping[int, Row]) -> set[int]:
  """Returns the image ids that results have, without those that their file names contradict.

  Args:
    results: list of results, not checked yet.
    images: rows of the ground truth, by id.
  """
  rows = results if isinstance(results, list) else []
  pairs = {(row["image_id"], file_name if isinstance(file_name, str) else "")
           for row in rows if isinstance(row, dict) and is_integer(row.get("image_id"))
           for file_name in [row.get("file_name")]}
  index = _index(images)
  fitting = {file_name: find_keys(file_name, index) for _, file_name in pairs}
  return {image_id for image_id, file_name in pairs
          if not (file_name and index) or image_id in fitting[file_name]}


def _index(images):
  return index_names((image_id, row["file_name"]) for image_id, row in images.items()
                     if isinstance(row.get("file_name"), str))


def _is_known(row, found):
  file_name = row.get("file_name")
  return not isinstance(file_name, str) or bool(found[file_name])


def _check_names(results, found, wrong, name, results_name):
  check_all_named(results, "file_name",
                  f"another has the image id {wrong[0]}, but the file {wrong[1]!r}, which is "
                  f"another image in {name}", results_name)
  several = next((file_name for file_name, ids in found.items() if len(ids) > 1), None)
  if several is not None:
    raise ValueError(
        f"{results_name}: image ids contradict file names, and the file name {several!r} fits the "
        f"images {list_first(found[several])} of {name}: give names with their folders")


def _has_categories(results):
  """Returns whether any result names its category, so that `correct_category_ids` compares them."""
  return any(isinstance(row.get("category_name"), str) for row in results)


def _warn(images, wrong, name, results_name, has_categories):
  image_id, file_name = wrong
  other = images[image_id].get("file_name") if image_id in images else None
  meant = f"{other!r} in {name}" if other else f"no image of {name}"
  # Where image ids are of another numbering, category ids may be, too.
  advice = "" if has_categories else (
      "; results without category_name: category ids were taken as they are")
  warnings.warn(
      f"{results_name}: image ids contradict file names (id {image_id} is {file_name!r} there and "
      f"{meant}): images were matched by file name{advice}", stacklevel=4)


def _warn_of_others(found, left_out, name, results_name):
  others = [file_name for file_name, ids in found.items() if not ids]
  warnings.warn(
      f"{results_name}: {left_out} results of {len(others)} files that are not in {name}, such as "
      f"{others[0]!r}, were left out", stacklevel=4)
