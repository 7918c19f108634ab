import math

import numpy as np
from pycocotools import mask as coco_mask
import pytest

from helpers.records_by_hand import (
  coco_ap,
  make_ground_truth,
  make_result,
  make_rle,
  random_records,
)
from mnc_jax.coco.rle import encode_mask
from mnc_jax.evaluation.metrics import boundary, coco

BIG = (100, 100)  # Its diagonal is 141.4: boundaries are 3 pixels wide.


def region(mask, ratio):
  return coco_mask.decode(boundary.boundary_region(encode_mask(mask), ratio)).astype(bool)


def slow_region(mask, ratio):
  """Pixels of the mask from which something else is at most d rows and d columns away."""
  distance = max(1, round(ratio * math.sqrt(mask.shape[0] ** 2 + mask.shape[1] ** 2)))
  near = np.zeros(mask.shape, bool)
  for row, column in np.argwhere(mask):
    rows = range(row - distance, row + distance + 1)
    columns = range(column - distance, column + distance + 1)
    near[row, column] = (
        min(rows) < 0 or min(columns) < 0 or max(rows) >= mask.shape[0]
        or max(columns) >= mask.shape[1]
        or not all(mask[r, c] for r in rows for c in columns))
  return near


def slow_overlap(first, second, ratio=0.02):
  """min(mask IoU, boundary IoU) of two masks."""
  def iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)
  first, second = first.astype(bool), second.astype(bool)
  return min(iou(first, second), iou(slow_region(first, ratio), slow_region(second, ratio)))


def test_region_of_a_square_is_a_frame():
  mask = np.zeros(BIG, np.uint8)
  mask[20:80, 30:90] = 1
  expected = mask.astype(bool)
  expected[23:77, 33:87] = False
  np.testing.assert_array_equal(region(mask, 0.02), expected)


def test_the_border_of_the_image_is_an_outline():
  expected = np.ones(BIG, bool)
  expected[3:97, 3:97] = False
  np.testing.assert_array_equal(region(np.ones(BIG, np.uint8), 0.02), expected)


def test_region_equals_the_slow_one():
  rng = np.random.default_rng(0)
  for ratio in (0.001, 0.02, 0.05, 0.1):
    mask = np.zeros((30, 44), np.uint8)
    for row, column in zip(rng.integers(0, 24, 5), rng.integers(0, 36, 5)):
      mask[row:row + rng.integers(4, 20), column:column + rng.integers(4, 20)] = 1
    mask[rng.integers(0, 30, 4), rng.integers(0, 44, 4)] ^= 1
    found = region(mask, ratio)
    np.testing.assert_array_equal(found, slow_region(mask, ratio))
    assert boundary.boundary_region(encode_mask(mask), ratio) == encode_mask(found)
  assert region(np.zeros((5, 5), np.uint8), 0.02).sum() == 0


def test_a_shifted_square_by_hand():
  gt = make_ground_truth(((1, 1, (20, 80), (20, 80), 0),), images=(1,), size=BIG)
  results = [make_result(1, 1, (20, 80), (22, 82), 0.9, size=BIG)]
  # Masks: 58 * 60 of 3720 pixels, .935. Frames of 60^2 - 54^2 = 684 pixels share 6 rows of 58
  # and, in 54 rows, 2 columns: 456 of 912, .5.
  assert coco.average_precisions(gt, results).numbers["AP"] == pytest.approx(0.9, abs=1e-12)
  score = boundary.average_precisions(gt, results)
  assert score.numbers["AP50"] == pytest.approx(1, abs=1e-12)
  assert score.numbers["AP"] == score.categories["cat"]["AP"] == pytest.approx(0.1, abs=1e-12)
  wide = boundary.average_precisions(gt, results, width_ratio=0.2)  # All is boundary: 28 pixels.
  assert wide.numbers["AP"] > 0.8


def test_mask_iou_counts_where_it_is_the_smaller():
  filled = np.zeros(BIG, np.uint8)
  filled[20:80, 20:80] = 1
  frame = filled.copy()
  frame[30:70, 30:70] = 0
  # Masks: 2000 of 3600 pixels, .556. Boundaries: the outer 684 of those and the inner
  # 46^2 - 40^2 = 516, .57.
  overlap = boundary.boundary_overlaps(
      [encode_mask(filled)], [encode_mask(frame)], np.zeros(1, np.uint8))
  assert overlap.item() == pytest.approx(2000 / 3600, abs=1e-12)


def test_crowds_are_compared_by_their_masks_alone():
  # Three quarters of the mask are in the crowd; of its frame less. The same region as an instance
  # has the IoU 900 / 8800.
  region = make_rle((0, 100), (15, 100), size=BIG)
  found = make_rle((40, 60), (0, 60), size=BIG)
  overlaps = boundary.boundary_overlaps([found], [region, region], np.array([1, 0], np.uint8))
  np.testing.assert_allclose(overlaps, [[900 / 1200, 900 / 8800]], atol=1e-12)


def test_crowds_beside_an_instance_leave_its_boundary():
  square = make_rle((20, 80), (20, 80), size=BIG)
  found = make_rle((20, 80), (22, 82), size=BIG)
  overlaps = boundary.boundary_overlaps([found], [square, square], np.array([1, 0], np.uint8))
  np.testing.assert_allclose(overlaps, [[58 / 60, 0.5]], atol=1e-12)


def test_precision_equals_the_slow_one():
  def overlap(record, annotation):
    return slow_overlap(*(coco_mask.decode(x["segmentation"]) for x in (record, annotation)))
  gt, results = random_records(np.random.default_rng(1), num_gt=15, num_results=30, reach=1)
  found = boundary.average_precisions(gt, results).numbers["AP"]
  assert found == pytest.approx(coco_ap(gt, results, overlap), abs=1e-9)
  assert 0 < found < coco.average_precisions(gt, results).numbers["AP"]


def test_perfect_results_score_one_and_none_score_zero():
  gt, _ = random_records(np.random.default_rng(2))
  perfect = [record | {"score": 0.5} for record in gt["annotations"]]
  assert boundary.average_precisions(gt, perfect).numbers["AP"] == pytest.approx(1, abs=1e-12)
  assert boundary.average_precisions(gt, []).numbers["AP"] == 0
