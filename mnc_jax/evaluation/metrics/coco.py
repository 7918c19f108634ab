"""COCO's twelve numbers for masks and boxes, for the whole set and per category.

Matching and accumulation are pycocotools' own (Lin et al. 2014, "Microsoft COCO: Common
Objects in Context"; https://cocodataset.org/#detection-eval).
"""

import collections
from collections.abc import Callable
import contextlib
import functools
import io
from typing import Any, NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mnc_jax.evaluation.metrics.geometry import measure_area, read_area, read_shape
from mnc_jax.evaluation.metrics.records import (
  check_kind,
  check_records,
  count_instances,
  is_crowd,
)

# Its type stubs allow neither text as `iouType` nor another `computeIoU`.
_COCO_EVAL: Any = COCOeval
# Results per image and category that count (COCOeval's maxDets).
MAX_RESULTS = 100
LEAST_MAX_RESULTS = 10
# The value of a number where there is no instance to find, as in COCO's tools.
NOTHING_TO_FIND = -1.0


class CocoScore(NamedTuple):
  """COCO's numbers.

  Attributes:
    numbers: {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm",
      "ARl": value}. AP is the mean over IoU .5, .55 ... .95, AR the mean recall over these with 1,
      10 or 100 (`max_results`, and the name with it) results per image and category; s, m and l
      are instances of less than 32^2, up to 96^2 and more pixels. -1 where there is no such
      instance.
    categories: {category name: the same}, of the categories that have ground truth.
  """
  numbers: dict
  categories: dict


def average_precisions(ground_truth: dict, results: list[dict], *, kind: str = "segm",
                       max_results: int = MAX_RESULTS, overlaps: Callable | None = None,
                       checked: bool = False) -> CocoScore:
  """Scores results by COCO's protocol.

  The size of a result is that of what is scored: its mask's pixels for "segm", also where it has
  a box, and its box's area for "bbox". No result at all scores 0.

  Args:
    ground_truth: dict with `images`, `annotations`, `categories`; segmentations are RLE or
      polygons. The box of an annotation without `bbox` is the bounds of its mask.
    results: list of {image_id, category_id, score, segmentation: RLE or bbox, by `kind`}.
    kind: "segm" for masks, "bbox" for boxes.
    max_results: of each image and category so many results count, those of the highest scores, as
      100 do in COCO. With more instances than that a perfect network scores below 1, see
      `highest_recall`. 10 or more.
    overlaps: what to match by instead of IoU: (shapes of D results, shapes of G instances,
      [G] crowd 0 or 1) -> [D, G].
    checked: as `voc.average_precisions`.

  Raises:
    ValueError: as `voc.average_precisions`; if `max_results` is below 10.
  """
  if max_results < LEAST_MAX_RESULTS:
    raise ValueError(f"max_results is {max_results}: it must be {LEAST_MAX_RESULTS} or more, which "
                     "AR10 counts")
  if not checked:
    check_records(ground_truth, results)
  check_kind(ground_truth, results, kind)
  with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress.
    evaluation = _COCO_EVAL(*_index(ground_truth, results, kind), iouType=kind)
    evaluation.params.maxDets = [1, 10, max_results]
    if overlaps is not None:
      evaluation.computeIoU = functools.partial(_overlaps_of_image, evaluation, overlaps)
    evaluation.evaluate()
    evaluation.accumulate()
  precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
  index = {category: k for k, category in enumerate(evaluation.params.catIds)}
  instances, _ = count_instances(ground_truth)
  summarize = functools.partial(_summarize, max_results=max_results)
  return CocoScore(
      numbers=summarize(precision, recall),
      categories={
          category["name"]: summarize(precision[:, :, [k]], recall[:, [k]])
          for category in ground_truth["categories"] if category["name"] in instances
          for k in [index[category["id"]]]})


def highest_recall(ground_truth: dict, *, max_results: int = MAX_RESULTS) -> float:
  """Returns the largest AR of `max_results` per image and category: the mean over categories.

  Below 1 where an image has more instances of one category; crowd regions are not counted.

  Args:
    ground_truth: dict with `annotations`, at least one of them not a crowd region.
    max_results: as `average_precisions`.
  """
  counts = collections.Counter(
      (row["image_id"], row["category_id"]) for row in ground_truth["annotations"]
      if not is_crowd(row))
  found, total = collections.Counter(), collections.Counter()
  for (_, category), count in counts.items():
    found[category] += min(count, max_results)
    total[category] += count
  return sum(found[category] / total[category] for category in total) / len(total)


def _index(ground_truth, results, kind):
  """Returns pycocotools' indices of ground truth and results, made of copies."""
  images = {image["id"]: image for image in ground_truth["images"]}
  # Numbered from 1: to pycocotools an instance with id 0 is never matched.
  annotations = [_copy(number, record, images, kind) | {
      "area": read_area(record, images[record["image_id"]]), "iscrowd": int(is_crowd(record))}
      for number, record in enumerate(ground_truth["annotations"], start=1)]
  found = [_copy(number, record, images, kind) | {"score": float(record["score"])}
           for number, record in enumerate(results, start=1)]
  return [_make_index(ground_truth, records) for records in (annotations, found)]


def _copy(number, record, images, kind):
  shape = read_shape(record, images[record["image_id"]], kind)
  return {"id": number, "image_id": record["image_id"], "category_id": record["category_id"],
          "area": measure_area(shape), "segmentation" if kind == "segm" else "bbox": shape}


def _make_index(ground_truth, records):
  index = COCO()
  index.dataset = {"images": ground_truth["images"], "categories": ground_truth["categories"],
                   "annotations": records}
  index.createIndex()
  return index


def _overlaps_of_image(evaluation, overlaps, image_id, category_id):
  """Replaces `COCOeval.computeIoU`: same order of rows, same number of them."""
  gt, found = evaluation._gts[image_id, category_id], evaluation._dts[image_id, category_id]
  if not gt or not found:
    return []
  best = sorted(found, key=lambda record: -record["score"])[:evaluation.params.maxDets[-1]]
  return overlaps(*([record["segmentation"] for record in records] for records in (best, gt)),
                  np.array([record["iscrowd"] for record in gt], np.uint8))


def _summarize(precision, recall, max_results) -> dict:
  """Returns the twelve numbers by name.

  Args:
    precision: [T, R, K, A, M] at 10 IoU thresholds and 101 recalls, of K categories, for 4
      area ranges (all, s, m, l) and 3 limits of results per image (1, 10, `max_results`); -1: none.
    recall: [T, K, A, M], of the same.
    max_results: the last of the limits.
  """
  cells = {
      "AP": precision[..., 0, 2], "AP50": precision[0, ..., 0, 2], "AP75": precision[5, ..., 0, 2],
      "APs": precision[..., 1, 2], "APm": precision[..., 2, 2], "APl": precision[..., 3, 2],
      "AR1": recall[..., 0, 0], "AR10": recall[..., 0, 1],
      f"AR{max_results}": recall[..., 0, 2],
      "ARs": recall[..., 1, 2], "ARm": recall[..., 2, 2], "ARl": recall[..., 3, 2]}
  return {name: float(part[part > -1].mean()) if (part > -1).any() else NOTHING_TO_FIND
          for name, part in cells.items()}
