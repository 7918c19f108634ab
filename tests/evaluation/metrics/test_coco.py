import copy
import json

import numpy as np
from pycocotools import mask as coco_mask
import pytest

from helpers.records_by_hand import (
  LEFT,
  TWO_CATS,
  coco_ap,
  make_box_result,
  make_ground_truth,
  make_result,
  random_records,
)
from mnc_jax.evaluation.metrics import coco


def test_masks_by_hand():
  results = [make_result(1, 1, *LEFT, 0.9),              # IoU 1.
             make_result(1, 1, (0, 10), (12, 20), 0.7)]  # IoU .8.
  numbers = coco.average_precisions(make_ground_truth(TWO_CATS), results).numbers
  # Seven thresholds, .5 to .8, reach both; three reach one of two: 51 of the 101 points.
  assert numbers["AP"] == pytest.approx((7 + 3 * 51 / 101) / 10, abs=1e-12)
  assert numbers["AP50"] == numbers["AP75"] == pytest.approx(1, abs=1e-12)
  assert numbers["AR1"] == 0.5
  assert numbers["AR100"] == pytest.approx((7 + 3 * 0.5) / 10, abs=1e-12)
  assert numbers["APs"] == pytest.approx(numbers["AP"])
  # Of 100 pixels each, all are small.
  assert numbers["APm"] == numbers["ARl"] == -1


def test_boxes_by_hand():
  results = [make_box_result(1, 1, (0, 10), (0, 7.5), 0.9)]  # IoU .75.
  numbers = coco.average_precisions(make_ground_truth(TWO_CATS[:1]), results, kind="bbox").numbers
  assert numbers["AP"] == pytest.approx(0.6, abs=1e-12)
  assert numbers["AR1"] == pytest.approx(0.6, abs=1e-12)


def test_categories_are_separate_and_their_mean_is_the_whole():
  gt, results = random_records(np.random.default_rng(3))
  score = coco.average_precisions(gt, results)
  assert list(score.categories) == ["cat", "dog"]
  assert score.categories["cat"]["AP"] != score.categories["dog"]["AP"]
  for name in ("AP", "AP50", "AR10", "AR100"):
    mean = np.mean([numbers[name] for numbers in score.categories.values()])
    assert score.numbers[name] == pytest.approx(mean, abs=1e-12)
  only_dogs = dict(gt, annotations=[a for a in gt["annotations"] if a["category_id"] == 2])
  alone = coco.average_precisions(only_dogs, results)
  assert list(alone.categories) == ["dog"]
  assert alone.categories["dog"] == score.categories["dog"] == alone.numbers


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_precision_equals_the_slow_one(kind):
  field = {"segm": "segmentation", "bbox": "bbox"}[kind]
  def iou(record, annotation):
    return coco_mask.iou([record[field]], [annotation[field]], [0]).item()
  for seed in range(3):
    gt, results = random_records(np.random.default_rng(seed))
    found = coco.average_precisions(gt, results, kind=kind).numbers["AP"]
    assert 0.1 < found < 0.9
    assert found == pytest.approx(coco_ap(gt, results, iou), abs=1e-9)


def test_an_instance_with_id_0_counts_like_others():
  # To pycocotools 0 means "not matched".
  gt = make_ground_truth(TWO_CATS[:1])
  assert gt["annotations"][0]["id"] == 0
  score = coco.average_precisions(gt, [make_result(1, 1, *LEFT, 0.9)])
  assert score.numbers["AP"] == pytest.approx(1, abs=1e-12)


def test_a_masks_size_goes_by_its_pixels_not_by_its_box():
  # 40 x 40: a medium instance. The wrong result is of 100 pixels, but has a large box.
  gt = make_ground_truth(((1, 1, (0, 40), (0, 40), 0),), size=(200, 200))
  wrong = make_result(1, 1, (100, 110), (100, 110), 0.9, size=(200, 200)) | {
      "bbox": [50, 50, 100, 40]}
  right = make_result(1, 1, (0, 40), (0, 40), 0.5, size=(200, 200)) | {"bbox": [0, 0, 40, 40]}
  numbers = coco.average_precisions(gt, [wrong, right]).numbers
  assert numbers["APm"] == pytest.approx(1, abs=1e-12)  # A small result is no false medium one.
  assert numbers["AP"] == pytest.approx(0.5, abs=1e-12)


def test_the_files_area_decides_the_size_of_an_instance():
  gt = make_ground_truth(TWO_CATS[:1])
  gt["annotations"][0]["area"] = 50.0**2
  numbers = coco.average_precisions(gt, [make_result(1, 1, *LEFT, 0.9)]).numbers
  assert (numbers["APs"], numbers["APm"]) == (-1, pytest.approx(1, abs=1e-12))


def make_crowded(count):
  """One-row instances of `count` rows of one image, one on another, and perfect results."""
  places = [(1, 1, (row, row + 1), (0, 20)) for row in range(count)] + [(2, 1, *LEFT)]
  gt = make_ground_truth([(*place, 0) for place in places])
  return gt, [make_result(*place, 1 - index / 50) for index, place in enumerate(places)]


def test_a_perfect_network_is_limited_by_the_number_of_results():
  gt, results = make_crowded(19)
  assert coco.highest_recall(gt, max_results=10) == pytest.approx(11 / 20)
  numbers = coco.average_precisions(gt, results, max_results=10).numbers
  # 56 of the 101 recalls, 0 to .55, are reached.
  assert numbers["AP"] == pytest.approx(56 / 101, abs=1e-12)
  assert numbers["AR10"] == pytest.approx(11 / 20, abs=1e-12)
  assert list(numbers) == ["AP", "AP50", "AP75", "APs", "APm", "APl",
                           "AR1", "AR10", "ARs", "ARm", "ARl"]
  assert coco.highest_recall(gt) == coco.highest_recall(gt, max_results=19) == 1
  many = coco.average_precisions(gt, results, max_results=19).numbers
  assert many["AP"] == many["AR19"] == pytest.approx(1, abs=1e-12)
  assert many["AR10"] == pytest.approx(11 / 20, abs=1e-12)


def test_the_highest_recall_is_the_mean_over_categories_as_ar():
  places = [(1, 1, (row, row + 1), (0, 20)) for row in range(15)] + [(1, 2, *LEFT)]
  gt = make_ground_truth([(*place, 0) for place in places])
  results = [make_result(*place, 1 - index / 50) for index, place in enumerate(places)]
  highest = coco.highest_recall(gt, max_results=10)
  assert highest == pytest.approx((10 / 15 + 1) / 2)
  assert coco.average_precisions(gt, results, max_results=10).numbers["AR10"] == pytest.approx(
      highest, abs=1e-12)


def test_crowd_regions_do_not_lower_the_highest_recall():
  gt, _ = make_crowded(10)
  gt["annotations"].append(gt["annotations"][0] | {"id": 99, "iscrowd": 1})
  assert coco.highest_recall(gt, max_results=10) == 1


def test_fewer_results_than_ar10_counts_are_refused():
  with pytest.raises(ValueError, match="max_results is 9: it must be 10 or more"):
    coco.average_precisions(make_ground_truth(TWO_CATS), [], max_results=9)


def test_no_results_score_zero():
  score = coco.average_precisions(make_ground_truth(TWO_CATS), [], kind="bbox")
  assert score.numbers["AP"] == score.numbers["AR100"] == score.categories["cat"]["AP50"] == 0


def test_nothing_is_printed_and_nothing_changed(capsys):
  gt, results = random_records(np.random.default_rng(0))
  before = copy.deepcopy((gt, results))
  coco.average_precisions(gt, results)
  assert (gt, results) == before
  assert capsys.readouterr() == ("", "")


def test_an_unknown_kind_is_named():
  with pytest.raises(ValueError, match="kind 'masks': 'segm' or 'bbox'"):
    coco.average_precisions(make_ground_truth(TWO_CATS), [], kind="masks")


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_reference_scores_are_reproduced(shared_dir, kind):
  folder = shared_dir / "reference" / "coco_eval"
  def read(name):
    return json.loads((folder / name).read_text())
  results = read("instances_val2014_fake" + {"segm": "segm100", "bbox": "bbox100"}[kind]
                 + "_results.json")
  found = coco.average_precisions(read("instances_val2014_100.json"), results, kind=kind).numbers
  expected = read("expected.json")[kind]
  assert list(found) == list(expected)
  assert found == pytest.approx(expected, abs=1e-9)
