"""Annotation files in COCO format, read to train on: with file names and masks.

All annotations are checked (`coco/schema.py`) and turned into compressed RLE when the file is
read, so that faults show before training.
"""

import pathlib
from typing import Any, NamedTuple

from mnc_jax.coco import content, schema
from mnc_jax.coco.box_fit import correct_boxes
from mnc_jax.coco.copies import drop_copies, join_copies
from mnc_jax.coco.faults import Fault, FaultReport, count_noun
from mnc_jax.coco.lvis import describe_federated, describe_missing_name
from mnc_jax.coco.numeric import parse_numbers
from mnc_jax.coco.segmentation import read_segmentation
from mnc_jax.coco.sizes import describe_rectangles, describe_sizes
from mnc_jax.coco.unannotated import describe_unannotated
from mnc_jax.data.records import Annotation, make_annotation


class CocoFile(NamedTuple):
  """The sound part of an annotation file.

  Attributes:
    path: of the file.
    images: N rows of the file, in its order.
    annotations: N lists, of each image; masks as compressed RLE with text counts, box and
      area as the file gives them, else of the mask; see also `correct_boxes`.
    categories: rows of the file, in order of id.
    empty_ids: of annotations that were dropped because their box or mask is empty.
  """
  path: pathlib.Path
  images: list[dict[str, Any]]
  annotations: list[list[Annotation]]
  categories: list[dict[str, Any]]
  empty_ids: list[int]


def read_coco_file(path: pathlib.Path, report: FaultReport) -> CocoFile:
  """Returns the annotations at `path`, see `check_coco`.

  Raises:
    ValueError: if the file cannot be read, is not in COCO format, or has a bad category or none.
  """
  return check_coco(content.read_json(path), path, report)


def check_coco(parsed: Any, path: pathlib.Path, report: FaultReport) -> CocoFile:
  """Returns the sound part of an annotation file; polygons are drawn as COCO's tools draw them.

  Images and annotations that cannot be used go to `report` and are dropped, see
  `content.check_content`. Rows of `images` with the same file are joined, and annotations that an
  image has twice are dropped; both are reported.

  Args:
    parsed: content of the file.
    path: what messages call it.
    report: takes the faults.

  Raises:
    ValueError: if it is not in COCO format, or has a bad category or none.
  """
  parsed = parse_numbers(parsed)
  found = content.check_content(parsed, name=str(path), report=report,
                                check_image=_check_file_name, convert=_read_annotation)
  empty = [row for row, is_empty in found.annotations if is_empty]
  rows, misfits = correct_boxes([row for row, is_empty in found.annotations if not is_empty],
                                name=str(path))
  odd = describe_sizes([*rows, *empty], parsed, found.images, name=str(path))
  found, _, joined = join_copies(found._replace(annotations=rows), name=str(path))
  by_image, copied = _group(found)
  images = list(found.images.values())
  bare = describe_unannotated(images, list(by_image.values()), name=str(path))
  for message in filter(None, (joined, copied and f"{path}: {copied}", misfits, *odd,
                               describe_rectangles(rows, parsed, name=str(path)), bare,
                               describe_federated(images, name=str(path)))):
    report(Fault("set", message))
  categories = [found.categories[category_id] for category_id in sorted(found.categories)]
  return CocoFile(path, images, list(by_image.values()), categories,
                  [row["id"] for row in empty])


def _group(found):
  """Returns {image id: annotations without copies}, and a message that counts the copies."""
  by_image = {image_id: [] for image_id in found.images}
  for annotation in found.annotations:
    by_image[annotation["image_id"]].append(annotation)
  dropped = {image_id: drop_copies(rows) for image_id, rows in by_image.items()}
  copies = [pair for _, pairs in dropped.values() for pair in pairs]
  message = "" if not copies else (
      f"{count_noun(len(copies), 'annotation')} of {len(found.annotations)} dropped: the image has "
      f"the category and mask already (annotation {copies[0][0]} is {copies[0][1]} again)")
  return {image_id: rows for image_id, (rows, _) in dropped.items()}, message


def _check_file_name(image):
  if "file_name" not in image:
    raise ValueError(f"no field 'file_name'{describe_missing_name(image)}")
  schema.check_text(image, "file_name")


def _read_annotation(row, image):
  """Returns the row in the form of `make_annotation`, and whether its box or mask is empty."""
  if "segmentation" not in row:
    raise ValueError("no field 'segmentation'")
  rle = read_segmentation(row["segmentation"], image["height"], image["width"])
  annotation = make_annotation(row["id"], row["image_id"], row["category_id"], rle,
                               bool(row.get("iscrowd", 0)))
  is_empty = annotation["area"] == 0
  # The file's own box and area, where it has them: COCO's scores are defined on these.
  if "bbox" in row:
    annotation["bbox"] = [float(value) for value in row["bbox"]]
    is_empty |= min(annotation["bbox"][2:]) == 0
  if "area" in row:
    annotation["area"] = float(row["area"])
  return annotation, is_empty
