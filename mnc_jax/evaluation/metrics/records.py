"""COCO records, checked before they are scored.

A record's mask (kind "segm") is its `segmentation`, polygons or RLE; its box (kind "bbox")
is its `bbox`, [x, y, width, height] in continuous pixels of the image file.
"""

import collections
import math
import numbers

from mnc_jax.coco.rle import MOST_PIXELS

KINDS = ("segm", "bbox")

_FIELD_OF_KIND = {"segm": "segmentation", "bbox": "bbox"}
_LARGEST_NUMBER = 1e9  # Of boxes and areas, in pixels: their products must stay finite.
_ID_FIELDS = ("id", "image_id", "category_id")
_FIELDS = {
    "image": ("id", "height", "width"),
    "category": ("id", "name"),
    "annotation": ("id", "image_id", "category_id"),
    "result": ("image_id", "category_id", "score"),
}


def is_crowd(record) -> bool:
  """Says whether `record`, an annotation, is a crowd region."""
  return bool(record.get("iscrowd", 0))


def count_instances(ground_truth) -> tuple[dict, tuple]:
  """Returns {category name: instances, at least 1}, and the names of those without any.

  Crowd regions of `ground_truth` are not counted.
  """
  counts = collections.Counter(
      record["category_id"] for record in ground_truth["annotations"] if not is_crowd(record))
  names = {category["id"]: category["name"] for category in ground_truth["categories"]}
  return ({name: counts[c] for c, name in names.items() if counts[c]},
          tuple(name for c, name in names.items() if not counts[c]))


def check_ground_truth(ground_truth, *, place: str = "the ground truth",
                       allow_empty: bool = False) -> None:
  """Refuses ground truth that cannot be scored against. Masks are checked where they are read.

  Args:
    ground_truth: dict with `images`, `annotations` and `categories`.
    place: what messages call it, for example a file name.
    allow_empty: whether there may be no instance at all.

  Raises:
    ValueError: if a section, a field or all instances are missing, an id or a category name
      occurs twice, an id is unknown, or a name, a box, an area or a size is none; naming
      section and id.
  """
  if not isinstance(ground_truth, dict):
    raise ValueError(f"{place} is not in COCO format: {type(ground_truth).__name__} instead of an "
                     "object with images, annotations and categories")
  for section, what in (("images", "image"), ("categories", "category"),
                        ("annotations", "annotation")):
    if not isinstance(ground_truth.get(section), list):
      raise ValueError(f"{place} is not in COCO format: no list {section!r}")
    _check_fields(place, what, ground_truth[section])
    _check_twice(f"{place}: id of {section}", ground_truth[section], "id")
    if len({isinstance(row["id"], str) for row in ground_truth[section]}) > 1:
      raise ValueError(f"{place}: some ids of {section} are numbers and some are text")
  _check_names(place, ground_truth["categories"])
  _check_sizes(place, ground_truth["images"])
  _check_known(f"{place}: annotations", ground_truth["annotations"], ground_truth)
  if not allow_empty and all(map(is_crowd, ground_truth["annotations"])):
    raise ValueError(f"{place} has no instance (crowd regions aside): nothing to score")


def check_results(results, ground_truth, *, place: str = "the results") -> None:
  """Refuses results that cannot be scored; an empty list is fine.

  Args:
    results: list of {image_id, category_id, score, and segmentation or bbox or both}.
    ground_truth: after `check_ground_truth`.
    place: what messages call the results, for example a file name.

  Raises:
    ValueError: if a field is missing, an image or a category is not in the ground truth, a
      score is not a finite number, or a box is none; naming the result by its place in the
      list, counted from 0, and its image.
  """
  if not isinstance(results, list):
    raise ValueError(f"{place}: a list of results is needed, not {type(results).__name__}")
  _check_fields(place, "result", results)
  _check_known(f"{place}: results", results, ground_truth)
  for number, record in enumerate(results):
    if not _is_finite(record["score"]):
      raise ValueError(f"{place}: result {number} of image {record['image_id']} has score "
                       f"{record['score']!r}: a finite number is needed")


def check_records(ground_truth, results, kind: str, *, allow_empty: bool = False) -> None:
  """Refuses `ground_truth` and `results` whose `kind`, "segm" or "bbox", cannot be scored.

  Without results there is nothing to score, which `allow_empty` allows.
  """
  check_ground_truth(ground_truth, allow_empty=allow_empty)
  check_results(results, ground_truth)
  check_kind(ground_truth, results, kind)


def check_kind(ground_truth, results, kind: str, *, gt_place: str = "the ground truth",
               results_place: str = "the results") -> None:
  """Refuses records without the `kind` to be scored: masks ("segm") or boxes ("bbox").

  The box of an annotation without `bbox` is the bounds of its mask; a result's is not, for
  a detector's boxes are not always those. Errors call `ground_truth` by `gt_place` and
  `results` by `results_place`.

  Raises:
    ValueError: naming the first such record, or that there is no such kind.
  """
  if kind not in KINDS:
    raise ValueError(f"kind {kind!r}: 'segm' or 'bbox'")
  field = _FIELD_OF_KIND[kind]
  for record in ground_truth["annotations"]:
    if field not in record and "segmentation" not in record:
      raise ValueError(f"{gt_place}: annotation {record['id']} of image {record['image_id']} "
                       f"has no {field!r}")
  for number, record in enumerate(results):
    if field not in record:
      raise ValueError(f"{results_place}: result {number} of image {record['image_id']} has no "
                       f"{field!r}")


def kinds_of(results, *, place: str = "the results") -> tuple[str, ...]:
  """Returns which kinds can be scored: those that any of `results` has; of an empty list both.

  Raises:
    ValueError: if no record has either, saying in which `place`.
  """
  kinds = tuple(kind for kind in KINDS
                if not results or any(_FIELD_OF_KIND[kind] in record for record in results))
  if not kinds:
    raise ValueError(f"{place}: no result has 'segmentation' or 'bbox'")
  return kinds


def _check_fields(place, what, rows):
  for number, row in enumerate(rows):
    if not isinstance(row, dict):
      raise ValueError(f"{place}: {what} {number} is not an object")
    where = f"{place}: {what} {row.get('id', number)}"
    for field in _FIELDS[what]:
      if field not in row:
        raise ValueError(f"{where} has no {field!r}")
      if field in _ID_FIELDS and (isinstance(row[field], bool)
                                  or not isinstance(row[field], numbers.Integral | str)):
        raise ValueError(f"{where} has {field} {row[field]!r}: not an id")
    if "bbox" in row and not _is_box(row["bbox"]):
      raise ValueError(f"{where} has bbox {row['bbox']!r}: [x, y, width, height] is needed")
    if row.get("iscrowd", 0) not in (0, 1):
      raise ValueError(f"{where} has iscrowd {row['iscrowd']!r}: 0 or 1 is needed")
    if "area" in row and not _is_finite(row["area"]):
      raise ValueError(f"{where} has area {row['area']!r}: a finite number is needed")


def _is_finite(value):
  # Booleans are numbers to Python.
  try:
    return (isinstance(value, numbers.Real) and not isinstance(value, bool)
            and math.isfinite(value))
  except OverflowError:  # A whole number beyond any float.
    return False


def _is_box(box):
  return (isinstance(box, list | tuple) and len(box) == 4 and all(map(_is_finite, box))
          and min(box[2:]) >= 0 and max(map(abs, box)) <= _LARGEST_NUMBER)


def _check_twice(what, rows, field):
  for value, count in collections.Counter(row[field] for row in rows).items():
    if count > 1:
      raise ValueError(f"{what}: {value!r} occurs {count} times")


def _check_names(place, categories):
  for category in categories:
    if not isinstance(category["name"], str):
      raise ValueError(f"{place}: category {category['id']} has name {category['name']!r}: not "
                       "text")
  _check_twice(f"{place}: category name", categories, "name")


def _check_sizes(place, images):
  for image in images:
    size = image["height"], image["width"]
    sound = all(isinstance(side, numbers.Integral) and not isinstance(side, bool) and side > 0
                for side in size)
    if not sound or size[0] * size[1] > MOST_PIXELS:
      raise ValueError(f"{place}: image {image['id']} has height {size[0]!r} and width "
                       f"{size[1]!r}: integers of at most {MOST_PIXELS} pixels are needed")


def _check_known(what, records, ground_truth):
  for field, section in (("image_id", "images"), ("category_id", "categories")):
    known = {row["id"] for row in ground_truth[section]}
    unknown = sorted({record[field] for record in records} - known, key=str)
    if unknown:
      shown = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
      raise ValueError(f"{what} name {len(unknown)} unknown {field}: {shown}")
