"""The errors in the results of each image, and the images sorted by them.

Results are matched as for mAP^r (`matching.py`). Those of an image, best score first, get a kind
at a mask IoU threshold t (default .5):

  found         IoU >= t with an instance of its category that no better result has taken
  duplicate     IoU >= t with an instance of its category, but a better result has taken it
  confusion     IoU >= t with an instance of another category: right mask, wrong category
  localisation  .1 <= IoU < t with an instance of its category: right category, poor mask
  background    everything else
  ignored       at least t of it is in a crowd region of its category; neither right nor wrong

The first that fits counts, `ignored` right after `duplicate`. An instance that no result has
found is missed. The kinds are those of Hoiem et al. 2012 ("Diagnosing Error in Object
Detectors") with the limits of TIDE (Bolya et al. 2020).
"""

import collections
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mnc_jax.evaluation.metrics.matching import Matches, judge, measure_overlaps
from mnc_jax.evaluation.metrics.records import check_records, is_crowd

FALSE_KINDS = ("duplicate", "confusion", "localisation", "background")
ERROR_KINDS = (*FALSE_KINDS, "missed")
# A result of less IoU with the right instance is no attempt at it.
LOCALISATION_IOU = 0.1


class Judged(NamedTuple):
  """A result and its kind.

  Attributes:
    record: the result.
    kind: "found", one of `FALSE_KINDS`, or "ignored".
    instance: index, among the image's annotations, of what it was matched to: for a confusion the
      instance of another category, for background the closest of all, for an ignored one the
      crowd region. None without any overlap.
    overlap: IoU with that; for an ignored one the part of it in the crowd region.
  """
  record: dict
  kind: str
  instance: int | None
  overlap: float


class Missed(NamedTuple):
  """An instance that no result has found.

  Attributes:
    instance: its index among the image's annotations.
    closest: the result of any category and score with the largest IoU, or None.
    overlap: that IoU, 0 without one.
  """
  instance: int
  closest: dict | None
  overlap: float


class ImageErrors(NamedTuple):
  """The results of an image, classified.

  Attributes:
    image: its record.
    annotations: tuple of its annotations, crowd regions among them.
    results: tuple of `Judged`, best score first.
    missed: tuple of `Missed`.
    hidden: number of results below the lowest score.
    cost: see `classify_image`.
  """
  image: dict
  annotations: tuple[dict, ...]
  results: tuple[Judged, ...]
  missed: tuple[Missed, ...]
  hidden: int
  cost: float


def classify_errors(ground_truth: dict, results: list[dict], *, iou_threshold: float = 0.5,
                    min_score: float = 0.0) -> list[ImageErrors]:
  """Classifies all results; the worst images come first.

  Args:
    ground_truth: dict with `images`, `annotations`, `categories`; masks are RLE or polygons.
    results: list of {image_id, category_id, score, segmentation: RLE}.
    iou_threshold: t of the kinds, above `LOCALISATION_IOU` and at most 1.
    min_score: results below it are ignored.

  Returns:
    An `ImageErrors` per image, by falling cost, then in the order of `images`.

  Raises:
    ValueError: for records that cannot be scored, or such a threshold.
  """
  if not LOCALISATION_IOU < iou_threshold <= 1:
    raise ValueError(f"the IoU threshold is {iou_threshold}; it must be above "
                     f"{LOCALISATION_IOU} and at most 1")
  check_records(ground_truth, results, kind="segm", allow_empty=True)
  images = {image["id"]: image for image in ground_truth["images"]}
  annotations, found = _by_image(ground_truth["annotations"]), _by_image(results)
  judged = [classify_image(image, annotations[key], found[key], iou_threshold=iou_threshold,
                           min_score=min_score) for key, image in images.items()]
  return sorted(judged, key=lambda errors: -errors.cost)


def classify_image(image: dict, annotations: Sequence[dict], results: Sequence[dict], *,
                   iou_threshold: float = 0.5, min_score: float = 0.0) -> ImageErrors:
  """Classifies the results of one image.

  Its cost is the distance of its scores from the right ones, 1 for the result that finds an
  instance and 0 for any other: the sum of the scores of its false positives, and per instance of
  1 - the score of the result that found it (1 if it was missed). Scores are taken as
  probabilities and clipped to 0 ... 1.

  Args:
    image: its record, with `id`, `height` and `width`.
    annotations: of this image.
    results: of this image, in any order; equal scores keep it.
    iou_threshold: t of the kinds.
    min_score: results below it are ignored, except as the closest to a missed instance.
  """
  ordered = sorted(results, key=lambda record: -record["score"])
  shown = sum(record["score"] >= min_score for record in ordered)
  overlaps, shares = measure_overlaps(ordered, annotations, image, "segm")
  judged = _judge(ordered[:shown], annotations, overlaps[:shown], shares[:shown], iou_threshold)
  missed = _find_missed(ordered, annotations, overlaps, judged)
  return ImageErrors(image, tuple(annotations), judged, missed, len(ordered) - shown,
                     _cost(judged, missed))


def count_kinds(errors: Iterable[ImageErrors]) -> dict[int, collections.Counter]:
  """Returns {category id: Counter of "instances", "found", the `ERROR_KINDS` and "ignored"}.

  A false positive of `errors` counts for its own category, not that of the ground truth.
  """
  counts = collections.defaultdict(collections.Counter)
  for one in errors:
    for judged in one.results:
      counts[judged.record["category_id"]][judged.kind] += 1
    for missed in one.missed:
      counts[one.annotations[missed.instance]["category_id"]]["missed"] += 1
  for count in counts.values():
    count["instances"] = count["found"] + count["missed"]
  return dict(counts)


def count_confusions(errors: Iterable[ImageErrors]) -> collections.Counter:
  """Returns how often each (category id given, right one) is confused in the `errors`."""
  return collections.Counter(
      (judged.record["category_id"], one.annotations[judged.instance]["category_id"])
      for one in errors for judged in one.results
      if judged.kind == "confusion" and judged.instance is not None)


def _by_image(records):
  groups = collections.defaultdict(list)
  for record in records:
    groups[record["image_id"]].append(record)
  return groups


def _judge(results, annotations, overlaps, shares, threshold):
  """Returns a `Judged` for each result; `overlaps` and `shares` are those of matching.py."""
  same = np.array([[result["category_id"] == record["category_id"] for record in annotations]
                   for result in results], bool).reshape(overlaps.shape)
  # A last column of zeros, since there may be no annotations.
  own, other, crowd = (np.pad(part, ((0, 0), (0, 1))) for part in (
      np.where(same, overlaps, 0.0), np.where(same, 0.0, overlaps), np.where(same, shares, 0.0)))
  found, duplicate, ignored = judge(Matches(own.max(1), own.argmax(1), crowd.max(1)), threshold)
  kinds = np.select(
      [found, duplicate, ignored, other.max(1) >= threshold, own.max(1) >= LOCALISATION_IOU],
      ["found", "duplicate", "ignored", "confusion", "localisation"], "background")
  measured = {"confusion": other, "background": own + other, "ignored": crowd}
  return tuple(Judged(record, str(kind), *_largest(measured.get(kind, own)[row]))
               for row, (record, kind) in enumerate(zip(results, kinds, strict=True)))


def _largest(overlaps):
  """Returns the index of the largest overlap and its value; None and 0 without any overlap."""
  index = int(overlaps.argmax()) if overlaps.any() else None
  return index, float(overlaps.max(initial=0.0))


def _find_missed(results, annotations, overlaps, judged):
  found = {one.instance for one in judged if one.kind == "found"}
  missed = []
  for index, record in enumerate(annotations):
    if index not in found and not is_crowd(record):
      closest, overlap = _largest(overlaps[:, index])
      missed.append(Missed(index, None if closest is None else results[closest], overlap))
  return tuple(missed)


def _cost(judged, missed):
  cost = float(len(missed))
  for one in judged:
    score = min(max(one.record["score"], 0.0), 1.0)
    cost += {"found": 1.0 - score, "ignored": 0.0}.get(one.kind, score)
  return cost
