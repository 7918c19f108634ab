"""Results scored by several protocols, as plain dicts for JSON."""

from typing import Literal

from mnc_jax.evaluation.metrics import boundary, coco, voc
from mnc_jax.evaluation.metrics.records import (
  check_records,
  count_instances,
  kinds_of,
  leave_out_placeholder,
)

PROTOCOLS = ("sds", "coco", "boundary")


def score_results(ground_truth: dict, results: list[dict], *,
                  protocols: tuple[Literal["sds", "coco", "boundary"], ...] = PROTOCOLS,
                  max_results: int = coco.MAX_RESULTS) -> dict:
  """Scores results by one or more protocols.

  Boxes are scored if results have `bbox`, masks if they have `segmentation`; either all of them or
  none must have it. An empty list scores 0 in both.

  Args:
    ground_truth: dict with `images`, `annotations`, `categories`, in COCO format. A placeholder
      among the categories, as of Roboflow, is left out with a warning.
    results: list of {image_id, category_id, score, segmentation: RLE or bbox or both}.
    protocols: of these:
      "sds", for masks: {"0.5" and "0.7": {"ap_11point" and "ap_area": {category: AP},
      "mean_ap_11point", "mean_ap_area", "counts"}, "ap_vol_11point"}, and the same for
      boxes, if there are any, under "boxes".
      "coco": {"segm" and "bbox": the 12 numbers}; either is missing if it cannot be scored.
      "boundary", for masks: {"boundary": the 12 numbers}.
    max_results: how many results per image and category "coco" and "boundary" count, see
      `coco.average_precisions`. "sds" counts all.

  Returns:
    The results of the protocols in one dict, with {"per_category": {"segm", "bbox", "boundary":
    {category: the 12 numbers}}}, `max_results` and its `coco.highest_recall` if either of these
    two is among them, "instances": {category: ground-truth instances} and "left_out": the
    categories that have no instance and are in no mean.

  Raises:
    ValueError: if records cannot be scored, naming them, or "sds" or "boundary" is given and
      results have no masks; if `max_results` is below 10.
  """
  unknown = set(protocols) - set(PROTOCOLS)
  if unknown:
    raise ValueError(f"protocol {unknown.pop()!r} is not known: {', '.join(PROTOCOLS)}")
  ground_truth = leave_out_placeholder(ground_truth)
  check_records(ground_truth, results)
  scores, twelve, kinds = {}, {}, kinds_of(results)
  if "sds" in protocols:
    scores |= _score_sds(ground_truth, results, "segm")
    if "bbox" in kinds:
      scores["boxes"] = _score_sds(ground_truth, results, "bbox")
  if "coco" in protocols:
    twelve |= {kind: coco.average_precisions(
        ground_truth, results, kind=kind, max_results=max_results, checked=True) for kind in kinds}
  if "boundary" in protocols:
    twelve["boundary"] = boundary.average_precisions(
        ground_truth, results, max_results=max_results, checked=True)
  if twelve:
    scores |= {name: score.numbers for name, score in twelve.items()}
    scores["per_category"] = {name: score.categories for name, score in twelve.items()}
    scores |= {"max_results": max_results,
               "highest_recall": coco.highest_recall(ground_truth, max_results=max_results)}
  instances, left_out = count_instances(ground_truth)
  return scores | {"instances": instances, "left_out": list(left_out)}


def _score_sds(ground_truth, results, kind):
  score = voc.average_precisions(ground_truth, results, kind=kind, checked=True)
  return ({str(threshold): part._asdict() for threshold, part in score.thresholds.items()}
          | {"ap_vol_11point": score.ap_vol_11point})
