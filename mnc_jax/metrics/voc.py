"""mAP^r: average precision of instance masks after PASCAL VOC and SDS.

Results of a category are sorted by score; each is matched to the instance of largest mask
IoU in its image, and is right if that IoU reaches the threshold and no better result has
taken the instance (Hariharan et al. 2014, "Simultaneous Detection and Segmentation").
"""

import collections
from typing import NamedTuple

import numpy as np

from mnc_jax.metrics.matching import check_records, is_crowd, judge, match_categories

# AP^r_vol is the mean over these (Hariharan et al. 2014).
_VOLUME_THRESHOLDS = tuple(tenth / 10 for tenth in range(1, 10))


class ThresholdScore(NamedTuple):
  """The score at one IoU threshold.

  Attributes:
    ap_11point: {category name: AP as the mean of the best precision at 11 recalls}.
    ap_area: {category name: AP as the area under the monotone precision}.
    counts: {category name: {"true", "duplicate", "false", "ignored": number of results}}.
    mean_ap_11point: over the categories that have ground truth.
    mean_ap_area: likewise.
  """
  ap_11point: dict
  ap_area: dict
  counts: dict
  mean_ap_11point: float
  mean_ap_area: float


class Score(NamedTuple):
  """What `average_precisions` finds.

  Attributes:
    thresholds: {IoU threshold: ThresholdScore}.
    ap_vol_11point: mean of `mean_ap_11point` over the thresholds .1, .2 ... .9.
    instances: {category name: ground-truth instances, crowd regions not counted}.
    left_out: names of the categories without ground truth; in no mean.
  """
  thresholds: dict
  ap_vol_11point: float
  instances: dict
  left_out: tuple


def average_precisions(ground_truth, results, *, iou_thresholds=(0.5, 0.7)) -> Score:
  """Scores results against ground truth, both in COCO format.

  A result whose instance is already taken is a false positive (a duplicate). A result that
  reaches no instance but lies in a crowd region by at least the threshold (its part inside
  over its own area, as COCO has it) is ignored; crowd regions are never positives. Equal
  scores keep the order of `results`.

  Args:
    ground_truth: dict with `images`, `annotations`, `categories`; segmentations are RLE or
      polygons.
    results: list of {image_id, category_id, score, segmentation: RLE}.
    iou_thresholds: for each of them the score is told per category.

  Returns:
    A `Score`.

  Raises:
    ValueError: if a result names an unknown image or category, has a score that is not
      finite or a mask of another size than its image, or there is no ground truth.
  """
  names = {category["id"]: category["name"] for category in ground_truth["categories"]}
  images = {image["id"]: image for image in ground_truth["images"]}
  check_records(ground_truth["annotations"], results, names, images)
  instances = collections.Counter(
      record["category_id"] for record in ground_truth["annotations"] if not is_crowd(record))
  if not instances:
    raise ValueError("the ground truth has no instance (crowd regions aside): nothing to score")
  matches = match_categories(
      ground_truth["annotations"], results, images, [c for c in names if instances[c]])
  def at(threshold):
    return _score_threshold(matches, instances, names, threshold)
  return Score(
      thresholds={threshold: at(threshold) for threshold in iou_thresholds},
      ap_vol_11point=float(np.mean([at(t).mean_ap_11point for t in _VOLUME_THRESHOLDS])),
      instances={names[c]: instances[c] for c in matches},
      left_out=tuple(name for c, name in names.items() if not instances[c]))


def precision_11point(true, positives: int) -> float:
  """Returns AP as the mean of the best precision at recalls 0, .1 ... 1 (VOC 2007).

  Args:
    true: [N] bool, whether each result is right, best score first.
    positives: number of ground-truth instances, at least 1.
  """
  hits, precision = _curve(true)
  # In floating point a recall of 3 / 5 does not reach the seventh point, .6000000000000001.
  # The usual evaluation code compares so, and published numbers contain it.
  reached = [precision[hits / positives >= point] for point in np.arange(0.0, 1.1, 0.1)]
  return float(np.mean([part.max(initial=0.0) for part in reached]))


def precision_area(true, positives: int) -> float:
  """Returns AP as the area under precision made monotone, all points (VOC 2010).

  Args:
    true: [N] bool, whether each result is right, best score first.
    positives: number of ground-truth instances, at least 1.
  """
  hits, precision = _curve(true)
  best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
  return float(np.sum(best_from_here * np.diff(hits, prepend=0)) / positives)


def to_dict(score: Score) -> dict:
  """Returns `score` as plain dicts for JSON; thresholds become strings."""
  per_threshold = {str(t): part._asdict() for t, part in score.thresholds.items()}
  return {**per_threshold, "ap_vol_11point": score.ap_vol_11point,
          "instances": score.instances, "left_out": list(score.left_out)}


def format_table(score: Score) -> str:
  """Returns a text table: one line a category, their mean, and what was left out."""
  width = max(len(name) for name in [*score.instances, "category"])
  def line(name, count, cells):
    return f"{name:<{width}}  {count:>9}" + "".join(f"  {cell:>9}" for cell in cells)
  parts = score.thresholds
  head = line("category", "instances", [f"AP^r@{threshold:g}" for threshold in parts])
  rows = [line(name, count, [f"{part.ap_11point[name]:.3f}" for part in parts.values()])
          for name, count in score.instances.items()]
  mean = line("mean", sum(score.instances.values()),
              [f"{part.mean_ap_11point:.3f}" for part in parts.values()])
  rule = "-" * len(head)
  notes = [f"{'AP^r_vol':<{width}}  {'':>9}  {score.ap_vol_11point:>9.3f}"]
  if score.left_out:
    notes.append(f"without ground truth, in no mean: {', '.join(score.left_out)}")
  return "\n".join([head, rule, *rows, rule, mean, *notes])


def _score_threshold(matches, instances, names, threshold) -> ThresholdScore:
  by_points, by_area, counts = {}, {}, {}
  for category, found in matches.items():
    true, duplicate, ignored = judge(found, threshold)
    name, judged = names[category], true[~ignored]
    by_points[name] = precision_11point(judged, instances[category])
    by_area[name] = precision_area(judged, instances[category])
    counts[name] = {"true": int(true.sum()), "duplicate": int(duplicate.sum()),
                    "false": int((~true & ~duplicate & ~ignored).sum()),
                    "ignored": int(ignored.sum())}
  return ThresholdScore(by_points, by_area, counts, float(np.mean(list(by_points.values()))),
                        float(np.mean(list(by_area.values()))))


def _curve(true):
  """Returns the number of right results and the precision after each result."""
  hits = np.cumsum(np.asarray(true, np.int64))
  return hits, hits / np.arange(1, len(hits) + 1)
