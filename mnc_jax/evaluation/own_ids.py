"""Ids that an annotation file gives to images and categories, so that it can score results."""

from collections.abc import Sequence
import pathlib
from typing import NamedTuple
import warnings

from mnc_jax.coco import content
from mnc_jax.coco.copies import join_copies
from mnc_jax.coco.faults import list_first
from mnc_jax.coco.file_names import find_keys, index_names, name_parts
from mnc_jax.coco.lvis import describe_missing_name
from mnc_jax.coco.numeric import parse_numbers


class OwnIds(NamedTuple):
  """Ids of an annotation file.

  Attributes:
    images: of each image.
    categories: of each category.
  """
  images: list[int]
  categories: tuple[int, ...]


def read_ids(path: pathlib.Path, images: Sequence[pathlib.Path], category_names: Sequence[str]
             ) -> OwnIds:
  """Returns the ids that the annotation file at `path` gives to images and categories.

  Args:
    path: a file in COCO format; faults of its annotations do not matter.
    images: files, which are found by name.
    category_names: of a model.

  Warns:
    If images lie in other folders than the names in the file say, with an example: only the last
    parts of the names agree.

  Raises:
    ValueError: if an image or a category is not in the file, or an image fits several rows of it.
  """
  found = join_copies(content.check_content(
      parse_numbers(content.read_json(path)), name=str(path), report=lambda fault: None),
                      name=str(path)).content
  id_of = {row["name"]: category_id for category_id, row in found.categories.items()}
  missing = [name for name in category_names if name not in id_of]
  if missing:
    raise ValueError(f"{path} lacks {len(missing)} of the model's {len(category_names)} "
                     f"categories: {list_first(missing)}; it has {list_first(id_of)}")
  index = index_names((image_id, row["file_name"]) for image_id, row in found.images.items()
                      if isinstance(row.get("file_name"), str))
  keys = [find_keys(str(image), index) for image in images]
  absent = [str(image) for image, ids in zip(images, keys, strict=True) if not ids]
  if absent:
    raise ValueError(f"{path} lacks {len(absent)} of the {len(images)} images: "
                     f"{list_first(absent)}{_describe_nameless(found.images)}")
  for image, ids in zip(images, keys, strict=True):
    if len(ids) > 1:
      raise ValueError(f"{path}: {image} may be any of the images {list_first(ids)}")
  image_ids = [ids[0] for ids in keys]
  _check_distinct(path, images, image_ids)
  _warn_of_folders(path, images, [found.images[image_id] for image_id in image_ids])
  return OwnIds(image_ids, tuple(id_of[name] for name in category_names))


def _describe_nameless(images):
  """Returns what is known of rows of the file in which no image can be found; "" of none."""
  for image_id, row in images.items():
    if not isinstance(row.get("file_name"), str):
      return f". Its image {image_id} has no 'file_name'{describe_missing_name(row)}"
  return ""


def _check_distinct(path, images, ids):
  """Rejects two images that are found under one id: their results would be mixed."""
  first = {}
  for image, image_id in zip(images, ids, strict=True):
    if image_id in first:
      raise ValueError(f"{path}: {first[image_id]} and {image} are both image {image_id}")
    first[image_id] = image


def _warn_of_folders(path, images, rows):
  others = [(image, row) for image, row in zip(images, rows, strict=True)
            if _is_elsewhere(image, row["file_name"])]
  if others:
    image, row = others[0]
    warnings.warn(
        f"{path}: {len(others)} of {len(images)} images lie in other folders than the names in it "
        f"say, such as {image}, which got the id {row['id']} of {row['file_name']!r}: if these are "
        "different images, the ids are wrong", stacklevel=3)


def _is_elsewhere(image, file_name):
  """Returns whether the folders of `file_name`, if it has any, are others than those of a path."""
  parts = name_parts(file_name)
  # An absolute name may be of another machine: there only the last folder can be the same.
  absolute = pathlib.PureWindowsPath(file_name).root
  count = min(2, len(parts)) if absolute else len(parts)
  return name_parts(str(image.absolute()))[-count:] != parts[-count:]
