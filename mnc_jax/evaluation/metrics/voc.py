"""mAP^r and mAP^b: average precision of instance masks and boxes after PASCAL VOC and SDS.

Results of a category are sorted by score; each is matched to the instance of largest IoU
in its image, and is right if that IoU reaches the threshold and no better result has taken
the instance (Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge", for
boxes; Hariharan et al. 2014, "Simultaneous Detection and Segmentation", for masks).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mnc_jax.evaluation.metrics.matching import judge, match_categories
from mnc_jax.evaluation.metrics.records import check_kind, check_records, count_instances

# AP_vol is the mean over these (Hariharan et al. 2014).
_VOLUME_THRESHOLDS = tuple(tenth / 10 for tenth in range(1, 10))


class ThresholdScore(NamedTuple):
  """The score at one IoU threshold.

  Attributes:
    ap_11point: {category name: AP as the mean of the best precision at 11 recalls}.
    ap_area: {category name: AP as the area under the monotone precision}.
    counts: {category name: {"true", "duplicate", "false", "ignored": number of results}}.
    mean_ap_11point: over the categories that have ground truth.
    mean_ap_area: over the same.
  """
  ap_11point: dict
  ap_area: dict
  counts: dict
  mean_ap_11point: float
  mean_ap_area: float


class VocScore(NamedTuple):
  """mAP^r or mAP^b.

  Attributes:
    thresholds: {IoU threshold: ThresholdScore}.
    ap_vol_11point: mean of `mean_ap_11point` over the thresholds .1, .2 ... .9.
  """
  thresholds: dict
  ap_vol_11point: float


def average_precisions(ground_truth: dict, results: list[dict], *, kind: str = "segm",
                       iou_thresholds: Sequence[float] = (0.5, 0.7), checked: bool = False
                       ) -> VocScore:
  """Scores results against ground truth, both in COCO format.

  A result whose instance is already taken is a false positive (a duplicate). A result that
  reaches no instance but is in a crowd region by at least the threshold (the part of its area
  inside, as in COCO) is ignored; crowd regions are never positives. Equal scores keep the order of
  `results`. No result at all scores 0.

  Boxes are compared as they are, continuous [x, y, width, height]. VOC's corners are
  inclusive pixels counted from 1, (x + 1, y + 1, x + width, y + height), and its widths
  right - left + 1: the same width, and the same IoU, so nothing is converted. VOC's mark
  "difficult" has no field in COCO format; pass such instances as crowd regions or not at all.

  Args:
    ground_truth: dict with `images`, `annotations`, `categories`; segmentations are RLE or
      polygons. The box of an annotation without `bbox` is the bounds of its mask.
    results: list of {image_id, category_id, score, segmentation: RLE or bbox, by `kind`}.
    kind: "segm" for mAP^r, "bbox" for mAP^b.
    iou_thresholds: for each of them there are scores per category.
    checked: whether these records have passed `scoring.score_results`' check, which takes about 2
      seconds per 100,000 results.

  Raises:
    ValueError: if a record cannot be scored (`coco/schema.py`), has no mask (or box), or one of
      another size than its image; or if there is no ground truth.
  """
  if not checked:
    check_records(ground_truth, results)
  check_kind(ground_truth, results, kind)
  names = {category["id"]: category["name"] for category in ground_truth["categories"]}
  images = {image["id"]: image for image in ground_truth["images"]}
  instances, _ = count_instances(ground_truth)
  matches = match_categories(
      ground_truth["annotations"], results, images,
      [c for c, name in names.items() if name in instances], kind)
  named = {names[c]: found for c, found in matches.items()}
  def at(threshold):
    return _score_threshold(named, instances, threshold)
  return VocScore(
      thresholds={threshold: at(threshold) for threshold in iou_thresholds},
      ap_vol_11point=float(np.mean([at(t).mean_ap_11point for t in _VOLUME_THRESHOLDS])))


def precision_11point(true: np.ndarray, positives: int) -> float:
  """Returns AP as the mean of the best precision at recalls 0, .1 ... 1 (VOC 2007).

  Args:
    true: [N] bool, whether each result is right, best score first.
    positives: number of ground-truth instances, at least 1.
  """
  hits, precision = count_precision(true)
  # In floating point a recall of 3 / 5 does not reach the seventh point, .6000000000000001.
  # The usual evaluation code compares so, and published numbers contain it.
  reached = [precision[hits / positives >= point] for point in np.arange(0.0, 1.1, 0.1)]
  return float(np.mean([part.max(initial=0.0) for part in reached]))


def precision_area(true: np.ndarray, positives: int) -> float:
  """Returns AP as the area under monotone precision (VOC 2010), of the same arguments."""
  hits, precision = count_precision(true)
  return float(np.sum(best_from_here(precision) * np.diff(hits, prepend=0)) / positives)


def count_precision(true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the number of right results and the precision after each result, two [N] arrays.

  Args:
    true: [N] bool, whether each result is right, best score first.
  """
  hits = np.cumsum(np.asarray(true, np.int64))
  return hits, hits / np.arange(1, len(hits) + 1)


def best_from_here(precision: np.ndarray) -> np.ndarray:
  """Returns [N] the best `precision` at each result or a later one, which falls monotonically."""
  return np.maximum.accumulate(precision[::-1])[::-1]


def _score_threshold(matches, instances, threshold) -> ThresholdScore:
  by_points, by_area, counts = {}, {}, {}
  for name, found in matches.items():
    true, duplicate, ignored = judge(found, threshold)
    judged = true[~ignored]
    by_points[name] = precision_11point(judged, instances[name])
    by_area[name] = precision_area(judged, instances[name])
    counts[name] = {"true": int(true.sum()), "duplicate": int(duplicate.sum()),
                    "false": int((~true & ~duplicate & ~ignored).sum()),
                    "ignored": int(ignored.sum())}
  return ThresholdScore(by_points, by_area, counts, float(np.mean(list(by_points.values()))),
                        float(np.mean(list(by_area.values()))))
