"""Rows of `images` that name one file, and annotations that an image has twice.

Exports that list a file once per annotation write the first; merged files have the second.
"""

import collections
from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
import json
import pathlib
from typing import Any, NamedTuple

from mnc_jax.coco.content import SoundRows
from mnc_jax.coco.faults import count_noun
from mnc_jax.coco.rle import mask_area
from mnc_jax.coco.schema import Row


class Joined(NamedTuple):
  """Sound rows in which each file has one row of `images`.

  Attributes:
    content: whose annotations have the `image_id` of the first row of their file.
    first_ids: {id of a row that was joined: id of the first row of its file}.
    message: how many rows were joined, or why they were not; "" if no two name one file.
  """
  content: SoundRows
  first_ids: dict[int, int]
  message: str


def join_copies(content: SoundRows, *, name: str, used_ids: Container[int] = ()) -> Joined:
  """Joins rows of `images` that have one `file_name` (as paths), height and width.

  Of annotations that were in several of these rows, equal in category, shape and `iscrowd`, one is
  kept.

  Nothing is joined if results have several of the ids of one file: they tell its rows apart, as
  with frames of several videos that are numbered alike.

  Args:
    content: annotations are rows with `image_id`.
    name: what the message calls the file.
    used_ids: image ids that results have.
  """
  several = {key: ids for key, ids in _group_by_file(content.images).items() if len(ids) > 1}
  if not several:
    return Joined(content, {}, "")
  example = max(several, key=lambda key: len(several[key]))
  rows = sum(map(len, several.values()))
  found = (f"{name}: {rows} rows of 'images' name only {count_noun(len(several), 'file')} "
           f"({example[0]!r} {len(several[example])} times)")
  if any(sum(image_id in used_ids for image_id in ids) > 1 for ids in several.values()):
    return Joined(content, {}, f"{found}, but results tell them apart by id: each row is an image")
  first_ids = {image_id: ids[0] for ids in several.values() for image_id in ids[1:]}
  annotations = _join_annotations(content.annotations, first_ids)
  joined = content._replace(
      images={key: row for key, row in content.images.items() if key not in first_ids},
      annotations=annotations)
  repeated = len(content.annotations) - len(annotations)
  return Joined(joined, first_ids, (
      f"{found}: rows of one file were joined under the first id") + (
          f", and {count_noun(repeated, 'annotation')} that an earlier row of the file has too "
          f"{'was' if repeated == 1 else 'were'} dropped" if repeated else ""))


def _group_by_file(images):
  """Returns {(file, height, width): ids} of images that have a file name."""
  groups = collections.defaultdict(list)
  for image_id, row in images.items():
    if isinstance(row.get("file_name"), str) and row["file_name"]:
      # `./a.jpg` and `a.jpg` are one file, as are `b//a.jpg` and `b/a.jpg`.
      path = str(pathlib.PurePosixPath(row["file_name"]))
      groups[path, row["height"], row["width"]].append(image_id)
  return groups


def drop_copies(annotations: Iterable[Row]) -> tuple[list[Row], list[tuple[int, int]]]:
  """Returns the annotations of an image without copies, and (id, id of the first) of these.

  A copy is equal in category, `iscrowd` and mask.

  Args:
    annotations: of one image; masks as compressed RLE.
  """
  first_of, kept, copies = {}, [], []
  for row in annotations:
    key = row["category_id"], bool(row.get("iscrowd", 0)), row["segmentation"]["counts"]
    first = first_of.setdefault(key, row["id"])
    if first == row["id"]:
      kept.append(row)
    else:
      copies.append((row["id"], first))
  return kept, copies


def describe_counted_copies(annotations: Iterable[Row], *, name: str) -> str:
  """Returns a message on copies (see `drop_copies`) that are scored as they are, else "".

  Args:
    annotations: of all images, masks as compressed RLE; those without a mask, with an empty one
      and crowd regions are not compared.
    name: what the message calls the file.
  """
  by_image = collections.defaultdict(list)
  for row in annotations:
    if "segmentation" in row and not row.get("iscrowd", 0) and mask_area(row["segmentation"]):
      by_image[row["image_id"]].append(row)
  copies = [pair for rows in by_image.values() for pair in drop_copies(rows)[1]]
  if not copies:
    return ""
  return (f"{name}: {count_noun(len(copies), 'annotation')} that the image has already, equal in "
          f"category and mask (annotation {copies[0][0]} is {copies[0][1]} again): each counts as "
          "an instance to be found, as for COCO's tools. mnc train and mnc evaluate drop them")


def _join_annotations(annotations: Iterable[Row], first_ids: Mapping[int, int]) -> Sequence[Row]:
  """Returns the annotations with the first ids, without those that an earlier row has too."""
  joined_ids, row_of, kept = set(first_ids.values()), {}, []
  for annotation in annotations:
    image_id = annotation["image_id"]
    first = first_ids.get(image_id, image_id)
    if first in joined_ids:
      row = row_of.setdefault((first, *_shape(annotation)), image_id)
      if row != image_id:
        continue
    kept.append(annotation | {"image_id": first} if first != image_id else annotation)
  return kept


def _shape(annotation: Row) -> tuple[Hashable, ...]:
  shape: Any = annotation.get("segmentation", annotation.get("bbox"))
  return annotation["category_id"], bool(annotation.get("iscrowd", 0)), json.dumps(shape)
