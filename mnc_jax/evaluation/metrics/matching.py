"""Results matched to the ground-truth instance of largest IoU (the VOC and SDS protocols)."""

import collections
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mnc_jax.coco.rle import measure_iou
from mnc_jax.evaluation.metrics.geometry import read_shape
from mnc_jax.evaluation.metrics.records import is_crowd


class Matches(NamedTuple):
  """The N results of a category, best first.

  Attributes:
    overlaps: [N] IoU with the closest instance of the image; 0 without one.
    instances: [N] number of that instance, unique in the category; -1 without one.
    crowd_shares: [N] largest part of the result's area that is in a crowd region.
  """
  overlaps: np.ndarray
  instances: np.ndarray
  crowd_shares: np.ndarray


def _group(records):
  """Returns {category: {image: [(index in records, record)]}}."""
  groups = collections.defaultdict(lambda: collections.defaultdict(list))
  for index, record in enumerate(records):
    groups[record["category_id"]][record["image_id"]].append((index, record))
  return groups


def match_categories(annotations: list[dict], results: list[dict], images: dict[int, dict],
                     categories: Iterable[int], kind: str) -> dict[int, Matches]:
  """Matches all results; the IoU of a result and an instance is computed once.

  Args:
    annotations: of the ground truth; segmentations are RLE or polygons.
    results: with RLE or boxes.
    images: {image id: its record with `height` and `width`}.
    categories: ids to be matched.
    kind: "segm" for IoU of masks, "bbox" for IoU of boxes.

  Returns:
    {category id: Matches}, of equal scores in the order of `results`.
  """
  instances, detections = _group(annotations), _group(results)
  matches = {}
  for category in categories:
    parts, indices, scores, first = [], [], [], 0
    for image, found in detections[category].items():
      ground_truth = [record for _, record in instances[category][image]]
      parts.append(_match_image(ground_truth, [record for _, record in found], images[image], first,
                                kind))
      indices += [index for index, _ in found]
      scores += [record["score"] for _, record in found]
      first += len(ground_truth)
    order = np.lexsort((indices, -np.asarray(scores, np.float64)))
    joined = map(np.concatenate, zip(*parts, strict=True)) if parts else (np.zeros(0),) * 3
    matches[category] = Matches(*(column[order] for column in joined))
  return matches


def _match_image(ground_truth, found, image, first, kind):
  """Returns `Matches` of one category in one image, whose instances are numbered from `first`."""
  if not ground_truth:
    return Matches(np.zeros(len(found)), np.full(len(found), -1), np.zeros(len(found)))
  overlaps, crowd_shares = measure_overlaps(found, ground_truth, image, kind)
  return Matches(overlaps.max(1), first + overlaps.argmax(1), crowd_shares.max(1))


def measure_overlaps(found: Sequence[dict], ground_truth: Sequence[dict], image: dict, kind: str
                     ) -> tuple[np.ndarray, np.ndarray]:
  """Measures N results against G annotations of an image, whatever their categories.

  Args:
    found: results.
    ground_truth: annotations.
    image: its record.
    kind: "segm" for IoU of masks, "bbox" for IoU of boxes.

  Returns:
    Two [N, G] arrays: IoU with each instance, 0 in the columns of crowd regions; and
    the part of the result's area that is in each crowd region, 0 in the other columns.
  """
  if not found or not ground_truth:
    nothing = np.zeros((len(found), len(ground_truth)))
    return nothing, nothing
  crowd = np.array([is_crowd(record) for record in ground_truth])
  # For crowd regions pycocotools divides by the area of the result instead of the union.
  overlaps = measure_iou([read_shape(record, image, kind) for record in found],
                         [read_shape(record, image, kind) for record in ground_truth],
                         crowd.astype(np.uint8))
  return np.where(crowd, 0.0, overlaps), np.where(crowd, overlaps, 0.0)


def judge(found: Matches, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns of each result `found` three [N] bool: true positive, duplicate of one, ignored.

  A result of a taken instance is a duplicate. A result that reaches no instance but has at
  least `threshold` of its area in a crowd region is ignored. The rest is false.
  """
  reached = found.overlaps >= threshold
  rows = np.flatnonzero(reached)
  # Results are sorted, and `unique` returns the first row of each instance.
  _, winners = np.unique(found.instances[rows], return_index=True)
  true = np.zeros(len(reached), bool)
  true[rows[winners]] = True
  return true, reached & ~true, ~reached & (found.crowd_shares >= threshold)
