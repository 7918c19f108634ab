"""Numbers of COCO files that were written as text or as whole floats: "7", 7.0.

Spreadsheets, data frames and some exports write ids and sizes so. They are the numbers they are;
whatever else is in their fields stays as it is, for `schema.py` to reject.
"""

import math
import re
from typing import Any

# Of each section: fields of whole numbers, and of any numbers or lists of them.
_WHOLE = {"images": ("id", "height", "width"), "categories": ("id",),
          "annotations": ("id", "image_id", "category_id", "iscrowd"),
          "results": ("image_id", "category_id")}
_REAL = {"annotations": ("area", "bbox"), "results": ("score", "bbox")}
_INTEGER = re.compile("[+-]?[0-9]{1,30}")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_EXACT = 2.0 ** 53  # Whole floats up to it are no rounded ones.


def parse_numbers(content: Any) -> Any:
  """Returns the content of an annotation file or of a list of results with numbers as numbers.

  Rows are copied where they change. Content of any other form is returned as it is.
  """
  if isinstance(content, list):
    return _parse_rows(content, "results")
  if not isinstance(content, dict):
    return content
  sections = {name: _parse_rows(content[name], name)
              for name in ("images", "categories", "annotations")
              if isinstance(content.get(name), list)}
  return content | sections


def _parse_rows(rows, section):
  whole, real = _WHOLE[section], _REAL.get(section, ())
  return [_parse_row(row, whole, real) if isinstance(row, dict) else row for row in rows]


def _parse_row(row, whole, real):
  changes = {field: _parse_whole(row[field]) for field in whole
             if type(row.get(field)) in (str, float)}
  for field in real:
    value = row.get(field)
    if type(value) is str and field != "bbox":
      changes[field] = _parse_text(value)
    elif type(value) is list and any(type(item) is str for item in value):
      changes[field] = [_parse_text(item) if type(item) is str else item for item in value]
  shape = row.get("segmentation")
  if type(shape) is dict and type(shape.get("size")) is list:
    changes["segmentation"] = shape | {"size": [
        _parse_whole(side) if type(side) in (str, float) else side for side in shape["size"]]}
  return row | changes if changes else row


def _parse_whole(value):
  """Returns a text or float as an integer if it is one, else unchanged."""
  number = _parse_text(value) if isinstance(value, str) else value
  if isinstance(number, float) and number.is_integer() and abs(number) <= _EXACT:
    return int(number)
  return number if type(number) is int else value


def _parse_text(text):
  """Returns the number that a text is, else the text."""
  stripped = text.strip()
  if _INTEGER.fullmatch(stripped):
    return int(stripped)
  if _DECIMAL.fullmatch(stripped) and math.isfinite(float(stripped)):
    return float(stripped)
  return text
