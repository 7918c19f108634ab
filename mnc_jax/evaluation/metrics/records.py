"""COCO records, checked before they are scored.

A record's mask (kind "segm") is its `segmentation`, polygons or RLE; its box (kind "bbox")
is its `bbox`, [x, y, width, height] in continuous pixels of the image file.
"""

import collections
import pathlib
from typing import Literal
import warnings

from mnc_jax.coco import content
from mnc_jax.coco.box_fit import correct_boxes, describe_result_boxes
from mnc_jax.coco.category_ids import correct_category_ids
from mnc_jax.coco.copies import describe_counted_copies, join_copies
from mnc_jax.coco.faults import count_noun, list_first
from mnc_jax.coco.image_ids import correct_image_ids, find_used_ids
from mnc_jax.coco.lvis import reject_federated
from mnc_jax.coco.numeric import parse_numbers
from mnc_jax.coco.placeholder import drop_placeholder
from mnc_jax.coco.rle import mask_area
from mnc_jax.coco.schema import is_integer
from mnc_jax.coco.segmentation import read_segmentation
from mnc_jax.coco.sizes import describe_sizes

KINDS = ("segm", "bbox")

_FIELD_OF_KIND = {"segm": "segmentation", "bbox": "bbox"}


def is_crowd(record: dict) -> bool:
  """Returns whether `record`, an annotation, is a crowd region."""
  return bool(record.get("iscrowd", 0))


def count_instances(ground_truth: dict) -> tuple[dict, tuple]:
  """Returns {category name: instances, at least 1}, and the names of those without any.

  Crowd regions of `ground_truth` are not counted.
  """
  counts = collections.Counter(
      record["category_id"] for record in ground_truth["annotations"] if not is_crowd(record))
  names = {category["id"]: category["name"] for category in ground_truth["categories"]}
  return ({name: counts[c] for c, name in names.items() if counts[c]},
          tuple(name for c, name in names.items() if not counts[c]))


def read_files(ground_truth_path: pathlib.Path, results_path: pathlib.Path,
               protocol: Literal["sds", "coco", "boundary"], *, crowd_as_instances: bool = False
               ) -> tuple[dict, list]:
  """Returns the ground truth and the results that `scoring.score_results` takes, masks as RLE.

  Rows of `images` with the same file are joined unless results tell them apart by id, and boxes
  that do not fit their masks are replaced (`correct_boxes`), both with a warning. Images are
  matched by file name, and categories by name, where names contradict the ids, see
  `correct_image_ids` and `correct_category_ids`. Warns of annotations with an empty mask, which
  count as missed, of annotations that an image has twice, which all count, and of results whose
  boxes do not fit their masks.

  Args:
    ground_truth_path: a JSON file with `images`, `annotations` and `categories`.
    results_path: a JSON file with a list of results.
    protocol: one of `scoring.PROTOCOLS`. All but "coco" need masks.
    crowd_as_instances: whether crowd regions of the ground truth are instances like any other.

  Raises:
    ValueError: if a file cannot be read or scored, naming the file, the record and the field; if
      the ground truth is LVIS's.
  """
  name, results_name = str(ground_truth_path), str(results_path)
  ground_truth = parse_numbers(content.read_json(ground_truth_path))
  sound = content.check_content(ground_truth, name=name, convert=_with_rle)
  reject_federated(sound.images.values(), name=name)
  rows, misfits = correct_boxes(sound.annotations, name=name)
  odd = describe_sizes(rows, ground_truth, sound.images, name=name)
  results = parse_numbers(content.read_json(results_path))
  sound, first_ids, joined = join_copies(sound._replace(annotations=rows), name=name,
                                         used_ids=find_used_ids(results, sound.images))
  copied = describe_counted_copies(sound.annotations, name=name)
  for message in filter(None, (joined, copied, misfits, *odd)):
    warnings.warn(message, stacklevel=2)
  if crowd_as_instances:
    sound = sound._replace(annotations=[row | {"iscrowd": 0} for row in sound.annotations])
  _check_instances(sound.annotations, name)
  results = correct_image_ids(_with_first_ids(results, first_ids), sound.images, name=name,
                              results_name=results_name)
  results = correct_category_ids(results, sound.categories, name=name, results_name=results_name)
  results = content.check_results(results, sound.images, sound.categories, name=results_name,
                                  convert=_with_rle)
  misfits = describe_result_boxes(results, name=results_name)
  if misfits:
    warnings.warn(misfits, stacklevel=2)
  ground_truth = ground_truth | {"images": list(sound.images.values()),
                                 "categories": list(sound.categories.values()),
                                 "annotations": sound.annotations}
  needed = () if protocol == "coco" else ("segm",)
  for kind in dict.fromkeys([*needed, *kinds_of(results, name=results_name)]):
    check_kind(ground_truth, results, kind, name=name, results_name=results_name)
  _warn_of_empty(sound.annotations, name)
  return ground_truth, results


def _with_rle(record, image):
  if "segmentation" not in record:
    return record
  return record | {"segmentation": read_segmentation(
      record["segmentation"], image["height"], image["width"])}


def _with_first_ids(results, first_ids):
  """Returns unchecked results with the ids of rows that were joined replaced."""
  if not first_ids or not isinstance(results, list):
    return results
  def replace(row):
    image_id = row.get("image_id") if isinstance(row, dict) else None
    known = is_integer(image_id) and image_id in first_ids
    return row | {"image_id": first_ids[image_id]} if known else row
  return [replace(row) for row in results]


def _warn_of_empty(annotations, name):
  ids = [record["id"] for record in annotations
         if "segmentation" in record and not mask_area(record["segmentation"])]
  if ids:
    warnings.warn(f"{name}: {count_noun(len(ids), 'annotation')} with an empty mask, counted "
                  f"as missed where masks are scored: ids {list_first(ids)}", stacklevel=3)


def _check_instances(annotations, name):
  if all(map(is_crowd, annotations)):
    crowd = (f"; if each of its {len(annotations)} crowd regions is one object, mnc score takes "
             "them as such with --crowd-as-instances" if annotations else "")
    raise ValueError(f"{name} has no instance (crowd regions aside): nothing to score{crowd}")


def leave_out_placeholder(ground_truth: dict) -> dict:
  """Returns the ground truth without a category that is none, such as Roboflow's, with a warning.

  Whatever else `ground_truth` may be is left to `check_records`.
  """
  found, message = drop_placeholder(ground_truth, name="the ground truth")
  if message:
    warnings.warn(message, stacklevel=3)
  return found


def check_records(ground_truth: dict, results: list, *, kind: str | None = None,
                  allow_empty: bool = False) -> None:
  """Checks all but the masks of records; each protocol checks these where it reads them.

  Args:
    ground_truth: dict with `images`, `annotations` and `categories`.
    results: list of {image_id, category_id, score, and segmentation or bbox or both}.
    kind: "segm" or "bbox" if all records need it.
    allow_empty: whether there may be no instance at all.

  Raises:
    ValueError: naming the record and the field, see `coco/schema.py`.
  """
  sound = content.check_content(ground_truth, name="the ground truth")
  if not allow_empty:
    _check_instances(sound.annotations, "the ground truth")
  content.check_results(results, sound.images, sound.categories, name="the results")
  if kind is not None:
    check_kind(ground_truth, results, kind)


def check_kind(ground_truth: dict, results: list, kind: str, *, name: str = "the ground truth",
               results_name: str = "the results") -> None:
  """Rejects records without the `kind` to be scored: masks ("segm") or boxes ("bbox").

  The box of an annotation without `bbox` is the bounds of its mask. A result has no such default,
  since a detector's boxes are not always the bounds of its masks. Errors call `ground_truth` by
  `name` and `results` by `results_name`.

  Raises:
    ValueError: naming the first such record, or that there is no such kind.
  """
  if kind not in KINDS:
    raise ValueError(f"kind {kind!r}: 'segm' or 'bbox'")
  field = _FIELD_OF_KIND[kind]
  for record in ground_truth["annotations"]:
    if field not in record and "segmentation" not in record:
      raise ValueError(f"{name}: annotation {record['id']} of image {record['image_id']} has no "
                       f"{field!r}")
  for index, record in enumerate(results):
    if field not in record:
      raise ValueError(f"{results_name}: result {index} of image {record['image_id']} has no "
                       f"{field!r}")


def kinds_of(results: list, *, name: str = "the results") -> tuple[str, ...]:
  """Returns which kinds can be scored: those that any of `results` has; of an empty list both.

  Raises:
    ValueError: if no record has either.
  """
  kinds = tuple(kind for kind in KINDS
                if not results or any(_FIELD_OF_KIND[kind] in record for record in results))
  if not kinds:
    raise ValueError(f"{name}: no result has 'segmentation' or 'bbox'")
  return kinds
