"""Reads any data set in COCO format: `instances_*.json` and a folder of images.

https://cocodataset.org/#format-data. Category ids become labels 1, 2, ... in order of id.
All annotations are checked and turned into compressed RLE when the file is read, so that a
fault shows before training; images are opened one at a time, later.
"""

import functools
import json
import pathlib
import warnings

import numpy as np
from tqdm import tqdm

from mnc_jax.data.images import read_image
from mnc_jax.data.segmentations import read_segmentation
from mnc_jax.data.source import Source, make_annotation

_FIELDS = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "segmentation"),
    "categories": ("id", "name"),
}
_PROGRESS_FROM = 20_000  # Annotations; fewer are read in a second or two.


def load_coco(annotations_path, images_dir) -> Source:
  """Returns the source of an annotation file and its folder of images.

  Polygons are drawn as COCO's tools draw them, and cut off at the border of the image.
  Annotations with an empty box or mask are left out, with one warning that counts them.
  Images without annotations stay, as images in which nothing is to be found.

  Args:
    annotations_path: the JSON file.
    images_dir: the folder that its file names are relative to.

  Raises:
    ValueError: if the file is missing or not in COCO format, naming file, id and field.
      `BrokenImageError` later, when an image that cannot be read is asked for.
  """
  path = pathlib.Path(annotations_path)
  content = _read_json(path)
  for section, fields in _FIELDS.items():
    _check_section(path, content, section, fields)
  images = content["images"]
  files = [_image_file(path, pathlib.Path(images_dir), image) for image in images]
  _check_folder(path, images_dir, files)
  categories = sorted(content["categories"], key=lambda category: category["id"])
  annotations = _annotations_by_row(path, content)
  return Source(
      name=str(path),
      image_ids=np.array([image["id"] for image in images], np.int64),
      sizes=np.array([_image_size(path, image) for image in images], np.int32).reshape(-1, 2),
      instance_counts=np.array([len(found) for found in annotations], np.int32),
      category_names=tuple(category["name"] for category in categories),
      category_ids=tuple(category["id"] for category in categories),
      read_image=functools.partial(_read_row_image, files),
      read_annotations=annotations.__getitem__)


def _read_json(path):
  try:
    content = json.loads(path.read_bytes())
  except OSError as error:
    raise ValueError(f"cannot read annotations {path}: {error.strerror}") from error
  except ValueError as error:
    raise ValueError(f"{path} is not JSON: {error}") from error
  if not isinstance(content, dict):
    raise ValueError(f"{path} is not in COCO format: {type(content).__name__} instead of an object")
  return content


def _check_section(path, content, section, fields):
  """Checks that a section is a list of objects with these fields and ids of their own."""
  rows = content.get(section)
  if not isinstance(rows, list):
    raise ValueError(f"{path} is not in COCO format: no list {section!r}")
  seen = set()
  for place, row in enumerate(rows):
    where = f"{path}: item {place} of {section!r}"
    _check_fields(where, row, fields)
    if row["id"] in seen:
      raise ValueError(f"{where}: id {row['id']} stands there twice")
    seen.add(row["id"])


def _check_fields(where, row, fields):
  if not isinstance(row, dict):
    raise ValueError(f"{where} is not an object")
  for field in fields:
    if field not in row:
      raise ValueError(f"{where} (id {row.get('id')}) has no {field!r}")
    if field.endswith("id") and type(row[field]) is not int:
      raise ValueError(f"{where} has {field} {row[field]!r}: not an integer")


def _image_file(path, folder, image):
  name = pathlib.PurePosixPath(str(image["file_name"]))
  if name.is_absolute() or ".." in name.parts:
    raise ValueError(f"{path}: file_name {image['file_name']!r} of image {image['id']} leaves "
                     "the folder of images")
  return folder / name


def _check_folder(path, folder, files):
  # One missing image is met when it is asked for; a wrong folder should be said at once.
  if files and not any(file.is_file() for file in files[:100]):
    raise ValueError(f"{path}: none of its first images, such as {files[0].name}, is in {folder}")


def _image_size(path, image):
  size = image["height"], image["width"]
  if not all(isinstance(side, int) and side > 0 for side in size):
    raise ValueError(f"{path}: image {image['id']} has height {size[0]!r} and width {size[1]!r}")
  return size


def _read_row_image(files, row):
  return read_image(files[row])


def _annotations_by_row(path, content):
  """Returns for each image, in order, its checked annotations with RLE masks."""
  row_of = {image["id"]: row for row, image in enumerate(content["images"])}
  category_ids = {category["id"] for category in content["categories"]}
  kept, dropped = [[] for _ in content["images"]], []
  rows = content["annotations"]
  for row in tqdm(rows, "Reading annotations", disable=len(rows) < _PROGRESS_FROM):
    where = f"{path}: annotation {row['id']} of image {row['image_id']}"
    if row["image_id"] not in row_of:
      raise ValueError(f"{where}: image_id is not in 'images'")
    if row["category_id"] not in category_ids:
      raise ValueError(f"{where}: category_id {row['category_id']} is not in 'categories'")
    place = row_of[row["image_id"]]
    try:
      annotation = _read_annotation(row, content["images"][place])
    except ValueError as error:
      raise ValueError(f"{where}: {error}") from None
    if annotation:
      kept[place].append(annotation)
    else:
      dropped.append(row["id"])
  _warn_of_dropped(path, dropped)
  return kept


def _warn_of_dropped(path, ids):
  if ids:
    first = ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
    warnings.warn(f"{path}: left out {len(ids)} annotations with an empty box or mask: "
                  f"ids {first}", stacklevel=2)


def _read_annotation(row, image):
  """Returns the annotation in the form of `make_annotation`; None if there is nothing of it."""
  rle = read_segmentation(row["segmentation"], image["height"], image["width"])
  annotation = make_annotation(
      row["id"], row["image_id"], row["category_id"], rle, bool(row.get("iscrowd", 0)))
  empty = annotation["area"] == 0
  # The file's own box and area, where it has them: COCO's scores are defined on these.
  if "bbox" in row:
    annotation["bbox"] = _read_numbers("bbox", row["bbox"], 4)
    empty |= min(annotation["bbox"][2:]) <= 0
  if "area" in row:
    annotation["area"], = _read_numbers("area", [row["area"]], 1)
  return None if empty else annotation


def _read_numbers(field, values, count):
  try:
    numbers = [float(value) for value in values]
  except (TypeError, ValueError):
    numbers = []
  if len(numbers) != count or not np.isfinite(numbers).all():
    raise ValueError(f"{field} {values!r}: {count} finite numbers are needed")
  return numbers
