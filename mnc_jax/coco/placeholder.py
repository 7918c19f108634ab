"""Categories of no annotation: Roboflow's placeholder, and the background of labelme."""

from typing import Any

_BACKGROUND = ("_background_", "__background__")


def drop_placeholder(content: Any, *, name: str) -> tuple[Any, str]:
  """Returns an annotation file without a category that is none, and a sentence about it.

  It is one that no annotation has, beside others:
    - of Roboflow: it has id 0 and supercategory "none", and is called like the project, which is
      the supercategory of all others, or like one of them.
    - of labelme's script: it is called `_background_` or `__background__`.
  Anything else is returned as it is, with "".

  Args:
    content: of the file, not yet checked.
    name: what the sentence calls the file.
  """
  if not isinstance(content, dict) or not all(
      isinstance(content.get(section), list)
      and all(isinstance(row, dict) for row in content[section])
      for section in ("categories", "annotations")):
    return content, ""
  row, kind = _find_background(content["categories"]) or _find_roboflow(content["categories"])
  others = [other for other in content["categories"] if other is not row]
  if not row or not others or any(
      annotation.get("category_id") == row.get("id") for annotation in content["annotations"]):
    return content, ""
  return content | {"categories": others}, (
      f"{name}: category {row.get('id')}, {row['name']!r}, was left out: {kind} that no annotation "
      "has")


def _find_background(rows):
  found = [row for row in rows if str(row.get("name")).strip().lower() in _BACKGROUND]
  return (found[0], "a background") if found else None


def _find_roboflow(rows):
  others = [row for row in rows if row.get("id") != 0]
  found = [row for row in rows if row.get("id") == 0]
  if len(found) == 1 and _is_roboflow(found[0], others):
    return found[0], "a placeholder of Roboflow"
  return None, ""


def _is_roboflow(row, others):
  name = row.get("name")
  return isinstance(name, str) and row.get("supercategory") == "none" and (
      all(other.get("supercategory") == name for other in others)
      or any(other.get("name") == name for other in others))
