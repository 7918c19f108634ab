"""The category 0 that Roboflow's COCO exports have beside those of the annotations."""

from typing import Any


def drop_placeholder(content: Any, *, name: str) -> tuple[Any, str]:
  """Returns an annotation file without Roboflow's placeholder category, and a sentence about it.

  It has id 0 and supercategory "none", is called like the project, which is the supercategory of
  all others, or like one of them, and no annotation has it. Anything else is returned as it is,
  with "".

  Args:
    content: of the file, not yet checked.
    name: what the sentence calls the file.
  """
  if not isinstance(content, dict) or not all(
      isinstance(content.get(section), list)
      and all(isinstance(row, dict) for row in content[section])
      for section in ("categories", "annotations")):
    return content, ""
  rows = content["categories"]
  others = [row for row in rows if row.get("id") != 0]
  candidates = [row for row in rows if row.get("id") == 0]
  if len(candidates) != 1 or not others or not _is_placeholder(candidates[0], others) or any(
      row.get("category_id") == 0 for row in content["annotations"]):
    return content, ""
  return content | {"categories": others}, (
      f"{name}: category 0, {candidates[0]['name']!r}, was left out: a placeholder of Roboflow "
      "that no annotation has")


def _is_placeholder(row, others):
  name = row.get("name")
  return isinstance(name, str) and row.get("supercategory") == "none" and (
      all(other.get("supercategory") == name for other in others)
      or any(other.get("name") == name for other in others))
