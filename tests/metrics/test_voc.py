import json

import numpy as np
from pycocotools import mask as coco_mask
import pytest

from mnc_jax.metrics import voc


def make_rle(rows, columns, *, size=(20, 20)):
  """RLE of the rectangle rows[0]:rows[1], columns[0]:columns[1]."""
  mask = np.zeros(size, np.uint8, order="F")
  mask[slice(*rows), slice(*columns)] = 1
  rle = coco_mask.encode(mask)
  return {"size": list(size), "counts": rle["counts"].decode()}


def make_truth(annotations, *, images=(1, 2), categories=("cat", "dog")):
  """Ground truth of (image, category, rows, columns, iscrowd)."""
  return {
      "images": [{"id": i, "height": 20, "width": 20} for i in images],
      "categories": [{"id": i, "name": name} for i, name in enumerate(categories, start=1)],
      "annotations": [
          {"id": i, "image_id": image, "category_id": category, "iscrowd": crowd,
           "segmentation": make_rle(rows, columns)}
          for i, (image, category, rows, columns, crowd) in enumerate(annotations)]}


def make_result(image, category, rows, columns, score):
  return {"image_id": image, "category_id": category, "score": score,
          "segmentation": make_rle(rows, columns)}


LEFT, RIGHT = ((0, 10), (0, 10)), ((0, 10), (10, 20))
TWO_CATS = ((1, 1, *LEFT, 0), (1, 1, *RIGHT, 0))


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
  score = voc.average_precisions(make_truth(TWO_CATS), results, iou_thresholds=(0.5, 0.85))
  # Precisions 1, 1/2, 2/3 of 2 instances: six points at 1, five at 2/3.
  assert score.thresholds[0.5].ap_11point["cat"] == pytest.approx((6 + 5 * 2 / 3) / 11, abs=1e-12)
  assert score.thresholds[0.5].ap_area["cat"] == pytest.approx(0.5 + 0.5 * 2 / 3, abs=1e-12)
  assert score.thresholds[0.85].ap_area["cat"] == pytest.approx(0.5, abs=1e-12)
  # Thresholds .1 ... .8 reach the second instance, .9 does not.
  both, one = (6 + 5 * 2 / 3) / 11, 6 / 11
  assert score.ap_vol_11point == pytest.approx((8 * both + one) / 9, abs=1e-12)
  assert score.thresholds[0.5].mean_ap_11point == score.thresholds[0.5].ap_11point["cat"]
  assert score.instances == {"cat": 2}
  assert score.left_out == ("dog",)


def test_threshold_itself_is_reached():
  results = [make_result(1, 1, (0, 10), (0, 5), 0.9)]
  score = voc.average_precisions(make_truth(TWO_CATS[:1]), results, iou_thresholds=(0.5,))
  assert score.thresholds[0.5].ap_area["cat"] == 1


def test_each_instance_is_taken_once():
  results = [make_result(1, 1, *LEFT, score) for score in (0.9, 0.8, 0.7)]
  score = voc.average_precisions(make_truth(TWO_CATS), results, iou_thresholds=(0.5,))
  assert score.thresholds[0.5].counts["cat"] == {
      "true": 1, "duplicate": 2, "false": 0, "ignored": 0}


def test_a_duplicate_does_not_go_to_the_second_best_instance():
  truth = make_truth(((1, 1, (0, 10), (0, 10), 0), (1, 1, (0, 10), (3, 13), 0)))
  results = [make_result(1, 1, *LEFT, 0.9), make_result(1, 1, (0, 10), (1, 11), 0.8)]
  counts = voc.average_precisions(truth, results).thresholds[0.5].counts["cat"]
  assert (counts["true"], counts["duplicate"]) == (1, 1)


def test_score_decides_not_the_order_of_results():
  worse, better = make_result(1, 1, (0, 10), (0, 8), 0.3), make_result(1, 1, *LEFT, 0.6)
  other = make_result(2, 1, *LEFT, 0.5)
  first = voc.average_precisions(make_truth(TWO_CATS), [worse, other, better])
  assert first == voc.average_precisions(make_truth(TWO_CATS), [better, other, worse])
  assert first.thresholds[0.5].counts["cat"]["duplicate"] == 1


def test_equal_scores_keep_their_order():
  wrong, right = make_result(2, 1, *LEFT, 0.5), make_result(1, 1, *LEFT, 0.5)
  truth = make_truth(TWO_CATS[:1])
  def area(results):
    return voc.average_precisions(truth, results).thresholds[0.5].ap_area["cat"]
  assert area([right, wrong]) == 1
  assert area([wrong, right]) == 0.5


def test_results_in_a_crowd_are_ignored_and_crowds_are_no_positives():
  truth = make_truth((*TWO_CATS[:1], (2, 1, (0, 20), (0, 20), 1)))
  inside = make_result(2, 1, (3, 6), (3, 6), 0.9)  # Wholly in the crowd, IoU 9 / 400.
  hit = make_result(1, 1, *LEFT, 0.5)
  score = voc.average_precisions(truth, [inside, inside, hit])
  assert score.thresholds[0.5].counts["cat"] == {
      "true": 1, "duplicate": 0, "false": 0, "ignored": 2}
  assert score.thresholds[0.5].ap_area["cat"] == 1
  assert score.instances == {"cat": 1}


def test_a_result_outside_the_crowd_is_false():
  truth = make_truth((*TWO_CATS[:1], (2, 1, (0, 5), (0, 5), 1)))
  counts = voc.average_precisions(
      truth, [make_result(2, 1, (10, 20), (10, 20), 0.9)]).thresholds[0.5].counts["cat"]
  assert (counts["false"], counts["ignored"]) == (1, 0)


def test_a_category_with_crowd_only_is_left_out():
  truth = make_truth((*TWO_CATS, (1, 2, *LEFT, 1)))
  score = voc.average_precisions(truth, [make_result(1, 2, *LEFT, 0.5)])
  assert score.left_out == ("dog",)
  assert score.thresholds[0.5].mean_ap_area == 0


def test_polygons_and_uncompressed_rle_are_read():
  truth = make_truth(TWO_CATS)
  truth["annotations"][0]["segmentation"] = [[0, 0, 10, 0, 10, 10, 0, 10]]
  # Column-major: 10 empty columns, then 10 times 10 pixels set and 10 not.
  truth["annotations"][1]["segmentation"] = {"size": [20, 20], "counts": [200] + [10, 10] * 10}
  results = [make_result(1, 1, *LEFT, 0.9), make_result(1, 1, *RIGHT, 0.8)]
  score = voc.average_precisions(truth, results, iou_thresholds=(0.95,))
  assert score.thresholds[0.95].mean_ap_area == 1


def test_no_results_score_zero():
  score = voc.average_precisions(make_truth(TWO_CATS), [])
  assert score.thresholds[0.7].mean_ap_11point == 0
  assert score.ap_vol_11point == 0


def test_unknown_ids_are_named():
  truth = make_truth(TWO_CATS)
  with pytest.raises(ValueError, match="results name 1 unknown image_id: 77"):
    voc.average_precisions(truth, [make_result(77, 1, *LEFT, 0.5)])
  with pytest.raises(ValueError, match="results name 1 unknown category_id: 9"):
    voc.average_precisions(truth, [make_result(1, 9, *LEFT, 0.5)])


def test_other_faults_are_named():
  truth = make_truth(TWO_CATS)
  wrong = dict(make_result(1, 1, *LEFT, 0.5), segmentation=make_rle((0, 5), (0, 5), size=(20, 30)))
  with pytest.raises(ValueError, match=r"image 1 is 20 x 20 .* category 1 is \[20, 30\]"):
    voc.average_precisions(truth, [wrong])
  with pytest.raises(ValueError, match="image 1 has score nan"):
    voc.average_precisions(truth, [make_result(1, 1, *LEFT, float("nan"))])
  with pytest.raises(ValueError, match="nothing to score"):
    voc.average_precisions(make_truth(((1, 1, *LEFT, 1),)), [])


def test_table_and_json_tell_the_numbers():
  score = voc.average_precisions(make_truth(TWO_CATS), [make_result(1, 1, *LEFT, 0.9)])
  lines = voc.format_table(score).splitlines()
  assert lines[0].split() == ["category", "instances", "AP^r@0.5", "AP^r@0.7"]
  assert lines[2].split() == ["cat", "2", "0.545", "0.545"]
  assert lines[-1] == "without ground truth, in no mean: dog"
  written = json.loads(json.dumps(voc.to_dict(score)))
  assert written["0.5"]["mean_ap_11point"] == pytest.approx(6 / 11)
  assert written["left_out"] == ["dog"]


def test_reference_scores_are_reproduced(shared_dir):
  def read(name):
    return json.loads((shared_dir / "reference" / "sds_eval" / name).read_text())
  expected = read("expected.json")
  found = voc.to_dict(voc.average_precisions(read("ground_truth.json"), read("results.json")))
  assert found["ap_vol_11point"] == pytest.approx(expected["ap_vol_11point"], abs=1e-9)
  for threshold in ("0.5", "0.7"):
    assert found[threshold]["ap_11point"] == pytest.approx(
        expected[threshold]["ap_11point"], abs=1e-9)
    for mean in ("mean_ap_11point", "mean_ap_area"):
      assert found[threshold][mean] == pytest.approx(expected[threshold][mean], abs=1e-9)
