"""Precision by recall, and the calibration of scores, by the matching of mAP^r and mAP^b."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mnc_jax.evaluation.metrics.matching import Matches, judge, match_categories
from mnc_jax.evaluation.metrics.records import check_records, count_instances
from mnc_jax.evaluation.metrics.voc import (
    best_from_here,
    count_precision,
    precision_11point,
    precision_area,
)


class Scored(NamedTuple):
  """The N results of a category, best first.

  Attributes:
    matches: to the ground truth.
    scores: [N].
    positives: number of ground-truth instances, crowd regions aside.
  """
  matches: Matches
  scores: np.ndarray
  positives: int


class Curve(NamedTuple):
  """Precision by recall of one category at one IoU threshold.

  Attributes:
    recalls: [N], rising, after each result that is not ignored.
    precisions: [N], falling: the best at this recall or a higher one.
    ap_11point: AP as `voc.average_precisions` has it.
    ap_area: the area under the curve.
  """
  recalls: np.ndarray
  precisions: np.ndarray
  ap_11point: float
  ap_area: float


class Calibration(NamedTuple):
  """How often results of a score are right, in K bins of equal width from 0 to 1.

  Attributes:
    counts: [K] results in each bin.
    scores: [K] their mean score; 0 in an empty bin.
    shares: [K] which share of them is right; 0 in an empty bin.
    error: the expected calibration error: the mean over all results of |score - share| of
      their bin; 0 without results.
  """
  counts: np.ndarray
  scores: np.ndarray
  shares: np.ndarray
  error: float


def match_scored(ground_truth: dict, results: Sequence[dict]) -> dict[str, Scored]:
  """Matches masks of results to ground truth, both in COCO format, once for all thresholds.

  Args:
    ground_truth: dict with `images`, `annotations`, `categories`.
    results: list of {image_id, category_id, score, segmentation: RLE}.

  Returns:
    {category name: Scored}, also of categories without ground truth.

  Raises:
    ValueError: for records that cannot be scored.
  """
  results = list(results)
  check_records(ground_truth, results, kind="segm", allow_empty=True)
  names = {category["id"]: category["name"] for category in ground_truth["categories"]}
  images = {image["id"]: image for image in ground_truth["images"]}
  instances, _ = count_instances(ground_truth)
  matches = match_categories(ground_truth["annotations"], results, images, names, "segm")
  scores = {category: [] for category in names}
  for record in results:
    scores[record["category_id"]].append(record["score"])
  return {name: Scored(matches[category], np.sort(np.array(scores[category], np.float64))[::-1],
                       instances.get(name, 0)) for category, name in names.items()}


def precision_curves(scored: dict[str, Scored], threshold: float) -> dict[str, Curve]:
  """Returns {category name: Curve} of the categories of `scored` that have ground truth.

  Args:
    scored: from `match_scored`.
    threshold: IoU from which a result finds an instance.
  """
  return {name: _make_curve(one, threshold) for name, one in scored.items() if one.positives}


def _make_curve(scored, threshold):
  true, _, ignored = judge(scored.matches, threshold)
  true = true[~ignored]
  hits, precision = count_precision(true)
  return Curve(hits / scored.positives, best_from_here(precision),
               precision_11point(true, scored.positives), precision_area(true, scored.positives))


def mean_precision(curves: Sequence[Curve], recalls: np.ndarray) -> np.ndarray:
  """Returns [P] the mean over one or more `curves` of the best precision at P `recalls`.

  The precision of a curve is 0 at recalls that it does not reach.
  """
  return np.mean([_at(curve, recalls) for curve in curves], 0)


def _at(curve, recalls):
  # What rounding alone separates is the same recall.
  first = np.searchsorted(curve.recalls, recalls - 1e-9)
  return np.append(curve.precisions, 0.0)[first]


def calibrate(scored: dict[str, Scored], threshold: float, *, bins: int = 10,
              min_score: float = 0.0) -> Calibration:
  """Compares the scores of all results with how often they are right.

  A result is right if it finds an instance of its category that no better result has found.
  Ignored results (in crowd regions) are left out. For the error see Guo et al. 2017, "On
  Calibration of Modern Neural Networks", and for detectors Kuppers et al. 2020, "Multivariate
  Confidence Calibration for Object Detection".

  Args:
    scored: from `match_scored`.
    threshold: IoU from which a result finds an instance.
    bins: K, of equal width; scores are clipped to 0 ... 1, and 1 is in the last bin.
    min_score: results below it are left out.
  """
  parts = [(scores[~ignored], true[~ignored]) for matches, scores, _ in scored.values()
           for true, _, ignored in [judge(matches, threshold)]]
  scores, right = (np.concatenate([part[side] for part in parts]) if parts else np.zeros(0)
                   for side in (0, 1))
  scores, right = scores[scores >= min_score].clip(0.0, 1.0), right[scores >= min_score]
  rows = np.minimum((scores * bins).astype(int), bins - 1)
  counts = np.bincount(rows, minlength=bins)
  means, shares = (np.bincount(rows, weights, bins) / np.maximum(counts, 1)
                   for weights in (scores, right))
  error = float(np.abs(means - shares) @ counts / max(counts.sum(), 1))
  return Calibration(counts, means, shares, error)
