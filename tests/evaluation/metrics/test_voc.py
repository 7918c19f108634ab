import json

import numpy as np
import pytest

from helpers.records_by_hand import (
  LEFT,
  RIGHT,
  TWO_CATS,
  make_box_result,
  make_ground_truth,
  make_result,
  make_rle,
  random_records,
)
from mnc_jax.evaluation.metrics import voc


def test_average_precision_by_hand():
  # Right, wrong, right with 4 instances: precisions 1, 1/2, 2/3 at recalls 1/4, 1/4, 1/2.
  true = [True, False, True]
  # Recalls 0, .1, .2 have precision 1; .3, .4, .5 have 2/3; six have none.
  assert voc.precision_11point(true, 4) == pytest.approx((3 + 3 * 2 / 3) / 11, abs=1e-12)
  assert voc.precision_area(true, 4) == pytest.approx(1 / 4 + 2 / 3 / 4, abs=1e-12)


def test_precision_of_nothing_is_zero():
  assert voc.precision_11point([], 3) == 0
  assert voc.precision_area([], 3) == 0
  assert voc.precision_11point([False], 3) == 0


def test_recall_points_are_those_of_the_usual_code():
  # 3 of 5 does not reach .6000000000000001: six points of precision 1, not seven.
  assert voc.precision_11point([True] * 3, 5) == pytest.approx(6 / 11, abs=1e-12)


def test_the_whole_score_by_hand():
  results = [make_result(1, 1, *LEFT, 0.9),
             make_result(2, 1, *LEFT, 0.8),            # No instance in that image.
             make_result(1, 1, (0, 10), (12, 20), 0.7)]  # IoU .8.
  score = voc.average_precisions(make_ground_truth(TWO_CATS), results, iou_thresholds=(0.5, 0.85))
  # Precisions 1, 1/2, 2/3 of 2 instances: six points at 1, five at 2/3.
  assert score.thresholds[0.5].ap_11point["cat"] == pytest.approx((6 + 5 * 2 / 3) / 11, abs=1e-12)
  assert score.thresholds[0.5].ap_area["cat"] == pytest.approx(0.5 + 0.5 * 2 / 3, abs=1e-12)
  assert score.thresholds[0.85].ap_area["cat"] == pytest.approx(0.5, abs=1e-12)
  # Thresholds .1 ... .8 reach the second instance, .9 does not.
  both, one = (6 + 5 * 2 / 3) / 11, 6 / 11
  assert score.ap_vol_11point == pytest.approx((8 * both + one) / 9, abs=1e-12)
  assert score.thresholds[0.5].mean_ap_11point == score.thresholds[0.5].ap_11point["cat"]
  assert list(score.thresholds[0.5].ap_area) == ["cat"]


def test_threshold_itself_is_reached():
  results = [make_result(1, 1, (0, 10), (0, 5), 0.9)]
  score = voc.average_precisions(make_ground_truth(TWO_CATS[:1]), results, iou_thresholds=(0.5,))
  assert score.thresholds[0.5].ap_area["cat"] == 1


def test_each_instance_is_taken_once():
  results = [make_result(1, 1, *LEFT, score) for score in (0.9, 0.8, 0.7)]
  score = voc.average_precisions(make_ground_truth(TWO_CATS), results, iou_thresholds=(0.5,))
  assert score.thresholds[0.5].counts["cat"] == {
      "true": 1, "duplicate": 2, "false": 0, "ignored": 0}


def test_a_duplicate_does_not_go_to_the_second_best_instance():
  gt = make_ground_truth(((1, 1, (0, 10), (0, 10), 0), (1, 1, (0, 10), (3, 13), 0)))
  results = [make_result(1, 1, *LEFT, 0.9), make_result(1, 1, (0, 10), (1, 11), 0.8)]
  counts = voc.average_precisions(gt, results).thresholds[0.5].counts["cat"]
  assert (counts["true"], counts["duplicate"]) == (1, 1)


def test_score_decides_not_the_order_of_results():
  worse, better = make_result(1, 1, (0, 10), (0, 8), 0.3), make_result(1, 1, *LEFT, 0.6)
  other = make_result(2, 1, *LEFT, 0.5)
  first = voc.average_precisions(make_ground_truth(TWO_CATS), [worse, other, better])
  assert first == voc.average_precisions(make_ground_truth(TWO_CATS), [better, other, worse])
  assert first.thresholds[0.5].counts["cat"]["duplicate"] == 1


def test_equal_scores_keep_their_order():
  wrong, right = make_result(2, 1, *LEFT, 0.5), make_result(1, 1, *LEFT, 0.5)
  gt = make_ground_truth(TWO_CATS[:1])
  def area(results):
    return voc.average_precisions(gt, results).thresholds[0.5].ap_area["cat"]
  assert area([right, wrong]) == 1
  assert area([wrong, right]) == 0.5


def test_results_in_a_crowd_are_ignored_and_crowds_are_no_positives():
  gt = make_ground_truth((*TWO_CATS[:1], (2, 1, (0, 20), (0, 20), 1)))
  inside = make_result(2, 1, (3, 6), (3, 6), 0.9)  # Wholly in the crowd, IoU 9 / 400.
  hit = make_result(1, 1, *LEFT, 0.5)
  score = voc.average_precisions(gt, [inside, inside, hit])
  assert score.thresholds[0.5].counts["cat"] == {
      "true": 1, "duplicate": 0, "false": 0, "ignored": 2}
  assert score.thresholds[0.5].ap_area["cat"] == 1


def test_a_result_outside_the_crowd_is_false():
  gt = make_ground_truth((*TWO_CATS[:1], (2, 1, (0, 5), (0, 5), 1)))
  counts = voc.average_precisions(
      gt, [make_result(2, 1, (10, 20), (10, 20), 0.9)]).thresholds[0.5].counts["cat"]
  assert (counts["false"], counts["ignored"]) == (1, 0)


def test_a_category_with_crowd_only_is_omitted():
  gt = make_ground_truth((*TWO_CATS, (1, 2, *LEFT, 1)))
  score = voc.average_precisions(gt, [make_result(1, 2, *LEFT, 0.5)])
  assert "dog" not in score.thresholds[0.5].ap_area
  assert score.thresholds[0.5].mean_ap_area == 0


def test_polygons_and_uncompressed_rle_are_read():
  gt = make_ground_truth(TWO_CATS)
  gt["annotations"][0]["segmentation"] = [[0, 0, 10, 0, 10, 10, 0, 10]]
  # Column-major: 10 empty columns, then 10 times 10 pixels set and 10 not.
  gt["annotations"][1]["segmentation"] = {"size": [20, 20], "counts": [200] + [10, 10] * 10}
  results = [make_result(1, 1, *LEFT, 0.9), make_result(1, 1, *RIGHT, 0.8)]
  score = voc.average_precisions(gt, results, iou_thresholds=(0.95,))
  assert score.thresholds[0.95].mean_ap_area == 1


def test_no_results_score_zero():
  score = voc.average_precisions(make_ground_truth(TWO_CATS), [])
  assert score.thresholds[0.7].mean_ap_11point == 0
  assert score.ap_vol_11point == 0


def test_a_mask_of_another_size_is_named():
  wrong = dict(make_result(1, 1, *LEFT, 0.5), segmentation=make_rle((0, 5), (0, 5), size=(20, 30)))
  with pytest.raises(ValueError, match=r"image 1: a mask of category 1 .* size \[20, 30\] .* its "
                                       r"image \[20, 20\]"):
    voc.average_precisions(make_ground_truth(TWO_CATS), [wrong])


def test_boxes_by_hand():
  gt = make_ground_truth(TWO_CATS)  # Boxes of 10 x 10 at x = 0 and x = 10, from the masks.
  results = [make_box_result(1, 1, (0, 10), (0, 7.5), 0.9),  # IoU .75.
             make_box_result(1, 1, (0, 10), (12, 18), 0.8)]  # IoU .6.
  score = voc.average_precisions(gt, results, kind="bbox", iou_thresholds=(0.5, 0.7, 0.8))
  areas = [part.ap_area["cat"] for part in score.thresholds.values()]
  assert areas == [1, 0.5, 0]
  # .1 ... .6 reach both, .7 the first: six of eleven points.
  assert score.ap_vol_11point == pytest.approx((6 + 6 / 11) / 9, abs=1e-12)


def test_the_box_of_an_annotation_comes_before_the_bounds_of_its_mask():
  gt = make_ground_truth(TWO_CATS[:1])
  gt["annotations"][0]["bbox"] = [0, 0, 20, 10]
  score = voc.average_precisions(gt, [make_box_result(1, 1, *LEFT, 0.9)], kind="bbox",
                                 iou_thresholds=(0.5, 0.51))
  assert [part.ap_area["cat"] for part in score.thresholds.values()] == [1, 0]


def test_boxes_in_a_crowd_are_ignored():
  gt = make_ground_truth((*TWO_CATS[:1], (2, 1, (0, 20), (0, 20), 1)))
  results = [make_box_result(2, 1, (3, 6), (3, 6), 0.9), make_box_result(1, 1, *LEFT, 0.5)]
  score = voc.average_precisions(gt, results, kind="bbox")
  assert score.thresholds[0.5].counts["cat"] == {
      "true": 1, "duplicate": 0, "false": 0, "ignored": 1}


def test_results_without_what_is_scored_are_named():
  gt = make_ground_truth(TWO_CATS)
  with pytest.raises(ValueError, match="the results: result 0 of image 1 has no 'bbox'"):
    voc.average_precisions(gt, [make_result(1, 1, *LEFT, 0.9)], kind="bbox")
  with pytest.raises(ValueError, match="the results: result 0 of image 1 has no 'segmentation'"):
    voc.average_precisions(gt, [make_box_result(1, 1, *LEFT, 0.9)])


def inclusive_iou(first, second):
  """IoU as VOC's devkit has it: corners are the first and last pixel, counted from 1."""
  (l1, t1, r1, b1), (l2, t2, r2, b2) = (
      (x + 1, y + 1, x + width, y + height) for x, y, width, height in (first, second))
  width, height = min(r1, r2) - max(l1, l2) + 1, min(b1, b2) - max(t1, t2) + 1
  if width <= 0 or height <= 0:
    return 0
  union = (r1 - l1 + 1) * (b1 - t1 + 1) + (r2 - l2 + 1) * (b2 - t2 + 1) - width * height
  return width * height / union


def slow_area(gt, results, category, threshold):
  """The devkit's loop over results and its area under the monotone precision."""
  instances = [r for r in gt["annotations"] if r["category_id"] == category]
  taken, hits = set(), []
  for record in sorted((r for r in results if r["category_id"] == category),
                       key=lambda r: -r["score"]):
    overlaps = {a["id"]: inclusive_iou(record["bbox"], a["bbox"]) for a in instances
                if a["image_id"] == record["image_id"]}
    best = max(overlaps, key=overlaps.get, default=None)
    hits.append(best is not None and overlaps[best] >= threshold and best not in taken)
    taken |= {best} if hits[-1] else set()
  precision = [sum(hits[:n]) / n for n in range(1, len(hits) + 1)]
  return sum(max(precision[n:]) for n, hit in enumerate(hits) if hit) / len(instances)


def test_box_precision_equals_the_slow_one_with_inclusive_corners():
  for seed in range(5):
    gt, results = random_records(np.random.default_rng(seed))
    score = voc.average_precisions(gt, results, kind="bbox", iou_thresholds=(0.5, 0.7))
    for threshold, part in score.thresholds.items():
      expected = {name: slow_area(gt, results, category, threshold)
                  for category, name in ((1, "cat"), (2, "dog"))}
      assert part.ap_area == pytest.approx(expected, abs=1e-12)
      assert 0 < part.mean_ap_area < 1


def test_reference_scores_are_reproduced(shared_dir):
  def read(name):
    return json.loads((shared_dir / "reference" / "sds_eval" / name).read_text())
  expected = read("expected.json")
  found = voc.average_precisions(read("ground_truth.json"), read("results.json"))
  assert found.ap_vol_11point == pytest.approx(expected["ap_vol_11point"], abs=1e-9)
  for threshold, part in found.thresholds.items():
    at = expected[str(threshold)]
    assert part.ap_11point == pytest.approx(at["ap_11point"], abs=1e-9)
    assert part.mean_ap_11point == pytest.approx(at["mean_ap_11point"], abs=1e-9)
    assert part.mean_ap_area == pytest.approx(at["mean_ap_area"], abs=1e-9)
