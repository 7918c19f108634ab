"""Reads and checks an annotation file in COCO format (https://cocodataset.org/#format-data).

All annotations are checked and turned into compressed RLE when the file is read, so that a
fault shows before training.
"""

import json
import pathlib
import re
import sys
from typing import Any, NamedTuple

from tqdm import tqdm

from mnc_jax.coco.rle import MOST_PIXELS, read_segmentation
from mnc_jax.data.faults import Fault, Report, refuse
from mnc_jax.data.records import Annotation, make_annotation

_FIELDS = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "segmentation"),
    "categories": ("id", "name"),
}
# Ids are stored in 64 bits. An image id below 0 marks an image that fills up a batch.
_LARGEST_ID = 2 ** 63 - 1
# Of boxes and areas; beyond it products of sides would leave what double precision tells apart.
_LARGEST_NUMBER = 1e9
# NUL, and the halves of a character: JSON can escape them, but no file name can hold them.
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")
_PROGRESS_FROM = 20_000  # Annotations; fewer are read in a second or two.


class CocoFile(NamedTuple):
  """The sound part of an annotation file.

  Attributes:
    path: of the file.
    images: N rows of the file, in its order.
    annotations: N lists, of each image; masks as compressed RLE with text counts, box and
      area as the file gives them, else of the mask.
    categories: rows of the file, in order of id.
    empty_ids: of annotations that were left out because their box or mask is empty.
  """
  path: pathlib.Path
  images: list[dict[str, Any]]
  annotations: list[list[Annotation]]
  categories: list[dict[str, Any]]
  empty_ids: list[int]


def read_coco_file(path: pathlib.Path, report: Report) -> CocoFile:
  """Returns the annotations at `path`; polygons are drawn as COCO's tools draw them.

  Images and annotations that cannot be used go to `report` and are left out; so are, in silence,
  the annotations of such an image.

  Raises:
    ValueError: if the file cannot be read, is not in COCO format, or has a bad category or none.
  """
  content = _read_sections(path)
  categories = list(_sound_rows(path, content, "categories", refuse))
  _check_names(path, categories)
  images = list(_sound_rows(path, content, "images", report))
  annotations, empty_ids = _annotations_by_image(path, content, images, categories, report)
  return CocoFile(path, images, annotations, sorted(categories, key=lambda row: row["id"]),
                  empty_ids)


def _read_sections(path):
  content = read_json(path)
  if not isinstance(content, dict):
    raise ValueError(f"{path} is not in COCO format: {type(content).__name__} instead of an object")
  for section in _FIELDS:
    if not isinstance(content.get(section), list):
      raise ValueError(f"{path} is not in COCO format: no list {section!r}")
  if not content["categories"]:
    raise ValueError(f"{path}: 'categories' is empty: there is nothing to learn or to score")
  return content


def read_json(path: pathlib.Path) -> Any:
  """Returns the content of the JSON file at `path`.

  Raises:
    ValueError: if it cannot be read or is not JSON, naming the file.
  """
  try:
    return json.loads(path.read_bytes(), object_pairs_hook=_object)
  except OSError as error:
    raise ValueError(f"cannot read {path}: {error.strerror}") from error
  except ValueError as error:
    raise ValueError(f"{path} is not JSON: {error}") from error
  except RecursionError:
    raise ValueError(f"{path} cannot be read: lists or objects are nested deeper than "
                     f"{sys.getrecursionlimit()} levels") from None


def _object(pairs):
  """Returns an object of JSON, of which Python would keep the last of equal fields."""
  found = dict(pairs)
  if len(found) != len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f"an object has the field {twice!r} twice")
  return found


def _sound_rows(path, content, section, report):
  """Yields the rows of a section that have its fields and an id of their own."""
  seen = set()
  for place, row in enumerate(content[section]):
    try:
      _check_row(f"{path}: item {place} of {section!r}", row, _FIELDS[section], seen)
      if section == "images":
        _check_image_row(path, row)
    except ValueError as error:
      report(Fault("image" if section == "images" else "annotation", str(error)))
    else:
      seen.add(row["id"])
      yield row


def _check_row(where, row, fields, seen):
  if not isinstance(row, dict):
    raise ValueError(f"{where} is not an object")
  for field in fields:
    if field not in row:
      raise ValueError(f"{where} (id {row.get('id')}) has no {field!r}")
    if field.endswith("id") and type(row[field]) is not int:
      raise ValueError(f"{where} has {field} {row[field]!r}: not an integer")
  if not 0 <= row["id"] <= _LARGEST_ID:
    raise ValueError(f"{where} has id {row['id']}: 0 ... 2**63 - 1 is needed")
  if row["id"] in seen:
    raise ValueError(f"{where}: id {row['id']} stands there twice")


def _check_names(path, categories):
  """Scores are told by name: each is a text of its own."""
  ids = {}
  for row in categories:
    _check_text(f"{path}: category {row['id']}", row, "name")
    if row["name"] in ids:
      raise ValueError(f"{path}: categories {ids[row['name']]} and {row['id']} are both called "
                       f"{row['name']!r}")
    ids[row["name"]] = row["id"]


def _check_text(where, row, field):
  if not isinstance(row[field], str):
    raise ValueError(f"{where} has {field} {row[field]!r}: not text")
  odd = _UNWRITABLE.search(row[field])
  if odd:
    raise ValueError(
        f"{where} has {field} {row[field]!r}: the character {odd[0]!r} cannot be written")


def _check_image_row(path, row):
  size = row["height"], row["width"]
  if not all(type(side) is int and side > 0 for side in size) or size[0] * size[1] > MOST_PIXELS:
    raise ValueError(f"{path}: image {row['id']} has height {size[0]!r} and width {size[1]!r}: "
                     "integers from 1 on are needed, of at most 2**27 pixels")
  _check_text(f"{path}: image {row['id']}", row, "file_name")
  name = pathlib.PurePosixPath(row["file_name"])
  if name.is_absolute() or ".." in name.parts:
    raise ValueError(f"{path}: file_name {row['file_name']!r} of image {row['id']} leaves "
                     "the folder of images")


def _annotations_by_image(path, content, images, categories, report):
  """Returns the checked annotations of each image, in order, and the ids of empty ones."""
  sound = {image["id"]: image for image in images}
  category_ids = {category["id"] for category in categories}
  gone = _image_ids(content) - set(sound)
  found, empty_ids = {image_id: [] for image_id in sound}, []
  rows = _sound_rows(path, content, "annotations", report)
  count = len(content["annotations"])
  for row in tqdm(rows, "Reading annotations", count, disable=count < _PROGRESS_FROM):
    if row["image_id"] in gone:
      continue
    try:
      annotation = _read_annotation(row, sound, category_ids)
    except ValueError as error:
      report(Fault("annotation",
                   f"{path}: annotation {row['id']} of image {row['image_id']}: {error}"))
      continue
    if annotation:
      found[row["image_id"]].append(annotation)
    else:
      empty_ids.append(row["id"])
  return list(found.values()), empty_ids


def _image_ids(content):
  rows = [row for row in content["images"] if isinstance(row, dict)]
  return {row["id"] for row in rows if type(row.get("id")) is int}


def _read_annotation(row, images, category_ids):
  """Returns the annotation in the form of `make_annotation`; None if there is nothing of it."""
  if row["image_id"] not in images:
    raise ValueError("image_id is not in 'images'")
  if row["category_id"] not in category_ids:
    raise ValueError(f"category_id {row['category_id']} is not in 'categories'")
  image = images[row["image_id"]]
  crowd = row.get("iscrowd", 0)
  if type(crowd) not in (int, bool) or crowd not in (0, 1):
    raise ValueError(f"iscrowd {crowd!r}: 0 or 1 is needed")
  rle = read_segmentation(row["segmentation"], image["height"], image["width"])
  annotation = make_annotation(
      row["id"], row["image_id"], row["category_id"], rle, bool(crowd))
  empty = annotation["area"] == 0
  # The file's own box and area, where it has them: COCO's scores are defined on these.
  if "bbox" in row:
    annotation["bbox"] = _read_numbers("bbox", row["bbox"], 4)
    empty |= min(annotation["bbox"][2:]) <= 0
  if "area" in row:
    annotation["area"], = _read_numbers("area", [row["area"]], 1)
    if annotation["area"] < 0:
      raise ValueError(f"area {row['area']!r} is below 0")
  return None if empty else annotation


def _read_numbers(field, values, count):
  # Python would make numbers of text, and of each of its characters.
  sound = isinstance(values, list) and len(values) == count and all(
      type(value) in (int, float) and abs(value) <= _LARGEST_NUMBER for value in values)
  if not sound:
    raise ValueError(f"{field} {values!r:.60}: {count} numbers of at most {_LARGEST_NUMBER:.0e} "
                     "are needed")
  return [float(value) for value in values]
