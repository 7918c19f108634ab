"""What a row of a COCO file may hold: one schema for training and for scoring.

It follows https://cocodataset.org/#format-data, and what pycocotools can use:

  id             integer, 0 ... 2**63 - 1, once in its section. COCO defines integers; training
                 stores them in 64 bits, and an image id below 0 marks padding of a batch.
  height, width  integers of at least 1, with at most `MOST_PIXELS` pixels together.
  name           of a category: text, once in the file, because scores are reported by name.
  bbox           [x, y, width, height], finite, no side below 0; optional. A side of 0 is an empty
                 annotation: training and `mnc evaluate` drop it, `mnc score` counts it as
                 missed, as COCO does.
  area           0 ... 1e9 pixels; optional. pycocotools never counts an instance of another area.
  iscrowd        0 or 1 of any numeric type; optional.
  score          of a result: a finite number.

Files may write numbers as text or whole floats; `numeric.py` reads them before. A `segmentation` is
checked where it is read (`segmentation.py`), and a `file_name` where files are opened
(`data/readers/coco_file.py`): scoring opens none. Each function raises ValueError with what is
wrong; `content.py` adds the file and the id.
"""

from collections.abc import Container
import numbers
import re
import sys
from typing import Any

from mnc_jax.coco.rle import MOST_PIXELS

Row = dict[str, Any]

_FIELDS = {
    "images": ("id", "height", "width"), "categories": ("id", "name"),
    "annotations": ("id", "image_id", "category_id"),
    "results": ("image_id", "category_id", "score")}
_LARGEST_ID = 2 ** 63 - 1
# Of boxes and areas: products of sides stay exact to a pixel in double precision.
_LARGEST_NUMBER = 1e9
# NUL, and the halves of a character: JSON can escape them, but they cannot be written.
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")


def is_integer(value: object) -> bool:
  """Returns whether `value` is a whole number, of Python or numpy, and no boolean."""
  return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_fields(row: Row, section: str) -> None:
  """Checks that a row of a section has its fields, and that its ids are integers."""
  if not isinstance(row, dict):
    raise ValueError(f"{row!r:.60} is not an object")
  for field in _FIELDS[section]:
    if field not in row:
      raise ValueError(f"no field {field!r}")
    if field.endswith("id") and not is_integer(row[field]):
      raise ValueError(f"{field} {row[field]!r:.60} is not an integer")
  if "id" in _FIELDS[section] and not 0 <= row["id"] <= _LARGEST_ID:
    raise ValueError(f"id {row['id']!r:.60} is not in 0 ... 2**63 - 1")


def check_size(image: Row) -> None:
  """Checks the `height` and `width` of an image."""
  height, width = image["height"], image["width"]
  if not all(is_integer(side) and side > 0 for side in (height, width)) or (
      height * width > MOST_PIXELS):
    raise ValueError(f"height {height!r:.60} and width {width!r:.60} are not integers of at least "
                     f"1 with at most {MOST_PIXELS} pixels")


def check_annotation(annotation: Row, images: Container, categories: Container) -> None:
  """Checks an annotation of one of these image ids and category ids, all but its mask."""
  for field, known in (("image_id", images), ("category_id", categories)):
    if annotation[field] not in known:
      raise ValueError(f"{field} {annotation[field]} is not in the file")
  if annotation.get("iscrowd", 0) not in (0, 1):
    raise ValueError(f"iscrowd {annotation['iscrowd']!r:.60} is neither 0 nor 1")
  _check_box(annotation)
  if "area" in annotation and not _is_number(annotation["area"], 0, _LARGEST_NUMBER):
    raise ValueError(
        f"area {annotation['area']!r:.60} is not a number from 0 to {_LARGEST_NUMBER:.0e}")


def check_result(result: Row) -> None:
  """Checks the score and the box of a result."""
  if not _is_number(result["score"], -sys.float_info.max, sys.float_info.max):
    raise ValueError(f"score {result['score']!r:.60} is not a finite number")
  _check_box(result)


def check_text(row: Row, field: str) -> None:
  """Checks that a field is text that can be written."""
  if not isinstance(row[field], str):
    raise ValueError(f"{field} {row[field]!r:.60} is not text")
  odd = _UNWRITABLE.search(row[field])
  if odd:
    raise ValueError(f"{field} {row[field]!r}: the character {odd[0]!r} cannot be written")


def _check_box(row):
  box = row.get("bbox", (0, 0, 0, 0))
  if not (isinstance(box, list | tuple) and len(box) == 4
          and all(_is_number(value, -_LARGEST_NUMBER, _LARGEST_NUMBER) for value in box)
          and min(box[2:]) >= 0):
    raise ValueError(f"bbox {box!r:.60} is not [x, y, width, height] with numbers of at most "
                     f"{_LARGEST_NUMBER:.0e} and no side below 0")


def _is_number(value, low, high):
  try:
    return (isinstance(value, numbers.Real) and not isinstance(value, bool)
            and low <= float(value) <= high)
  except OverflowError:  # A whole number beyond any float.
    return False
