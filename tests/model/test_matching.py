"""Boxes and instances matched by hand, on one image of 100 x 100 pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.one_image import ground_truth
from mnc_jax.model import matching
from mnc_jax.ops.boxes import box_iou

in_crowd = jax.jit(matching.in_crowd)


def test_ground_truth_joins_without_crowds_and_padding():
  gt = ground_truth([[0, 0, 40, 40], [50, 50, 90, 90]], [1, 2], crowd=[0, 1])
  boxes, valid = matching.join_ground_truth(
      jnp.full((2, 4), 7.0), jnp.array([True, False]), gt)
  np.testing.assert_array_equal(boxes[:3], [[7] * 4, [7] * 4, [0, 0, 40, 40]])
  np.testing.assert_array_equal(boxes[3:], np.zeros((2, 4)))
  np.testing.assert_array_equal(valid, [True, False, True, False, False])


def test_nan_in_padding_joins_no_roi():
  gt = ground_truth([[0, 0, 40, 40]], [1])
  gt = gt._replace(boxes=jnp.where(gt.valid[:, None], gt.boxes, jnp.nan))
  boxes, valid = matching.join_ground_truth(jnp.full((1, 4), 7.0), jnp.array([True]), gt)
  np.testing.assert_array_equal(boxes, [[7] * 4, [0, 0, 40, 40], [0] * 4])
  np.testing.assert_array_equal(valid, [True, True, False])


def test_crowds_cover_what_their_masks_cover():
  # Of the region's box only the left quarter, x < 15, is crowd.
  mask = np.zeros((1, 112, 112))
  mask[:, :, :28] = 1
  gt = ground_truth([[0, 0, 60, 60]], [1], crowd=[1], masks=mask)
  boxes = [[0, 10, 14, 30], [1, 10, 28, 30], [1, 10, 30, 30], [30, 30, 50, 50], [20, 5, 10, 9],
           [-30, 10, 14, 30]]
  np.testing.assert_array_equal(
      in_crowd(jnp.asarray(boxes, jnp.float32), gt),
      [True, True, False, False, False, False])


def test_ground_truth_of_numpy_is_split_as_any_other():
  gt = ground_truth([[0, 0, 60, 60], [50, 50, 90, 90]], [1, 2], crowd=[1, 0])._replace(
      ignored_boxes=jnp.array([[70.0, 0, 90, 20]]))
  boxes = np.float32([[10, 10, 28, 30], [50, 50, 90, 90], [72, 2, 80, 18], [65, 30, 90, 45]])
  found = matching.split_by_overlap(boxes, np.float32([0, 1, 0, 0]), jax.tree.map(np.asarray, gt),
                                    positive_iou=0.5, negative_iou=0.5)
  np.testing.assert_array_equal(found, [[False, True, False, False], [False, False, False, True]])


def test_a_crowd_may_be_drawn_with_255():
  gt = ground_truth([[0, 0, 60, 60]], [1], crowd=[1])
  boxes = jnp.array([[50.0, 10, 80, 30], [20, 10, 70, 30]])  # A third and four fifths of them.
  drawn = gt._replace(masks=gt.masks * np.uint8(255))
  assert in_crowd(boxes, drawn).tolist() == in_crowd(boxes, gt).tolist() == [False, True]


def test_share_of_crowd_against_pixels():
  rng = np.random.default_rng(0)
  masks = np.repeat(np.repeat(rng.random((2, 28, 28)) < 0.55, 4, axis=1), 4, axis=2)
  regions, canvas = [[3, 10, 59, 66], [40, 20, 96, 76]], np.zeros((2, 100, 100))
  for whole, mask, (x1, y1, x2, y2) in zip(canvas, masks, regions, strict=True):
    whole[y1:y2, x1:x2] = mask[::2, ::2]  # 112 cells in 56 pixels.
  low = rng.integers(0, 70, (200, 2))
  boxes = np.concatenate([low, low + rng.integers(1, 30, (200, 2))], axis=1)
  shares = np.array([[whole[y1:y2, x1:x2].mean() for whole in canvas] for x1, y1, x2, y2 in boxes])
  # What both regions cover counts twice.
  shares = shares.sum(axis=1)
  clear = abs(shares - 0.5) > 1e-4
  boxes, shares = boxes[clear], shares[clear]
  gt = ground_truth([*regions, [0, 0, 9, 9]], [1, 1, 2], crowd=[1, 1, 0],
                    masks=[*masks, np.ones((112, 112))])
  found = in_crowd(jnp.asarray(boxes, jnp.float32), gt)
  np.testing.assert_array_equal(found, shares > 0.5)
  assert 20 < found.sum() < 180


def test_regions_cover_a_box_together():
  """Two thirds of it are crowd, a third of it each."""
  gt = ground_truth([[0, 0, 20, 60], [40, 0, 60, 60]], [1, 1], crowd=[1, 1])
  boxes = jnp.array([[0.0, 0, 60, 60], [10, 0, 50, 60], [15, 0, 45, 60]])
  # Shares 2 / 3, 1 / 2 and 1 / 3.
  assert in_crowd(boxes, gt).tolist() == [True, False, False]


@pytest.mark.parametrize("size", [0, 1, 16, 17, 40])
def test_blocks_reach_the_last_instance_that_counts(size):
  def add(state, boxes, counts):
    total, blocks = state
    return total + jnp.where(counts, boxes[:, 0], 0.0).sum(), blocks + 1
  def fold(counts):
    boxes = jnp.repeat(jnp.arange(1.0, size + 1)[:, None], 4, axis=1)
    return [x.item() for x in jax.jit(lambda boxes, counts: matching.fold_instances(
        add, (jnp.float32(0), 0), boxes, counts))(boxes, counts)]
  assert fold(jnp.ones(size, bool)) == [size * (size + 1) / 2, -(-size // 16)]
  assert fold(jnp.arange(size) < 2) == [min(size * (size + 1) / 2, 3), min(size, 1)]
  assert fold(jnp.zeros(size, bool)) == [0, 0]


def test_ignored_instances_in_all_blocks_are_compared():
  rng = np.random.default_rng(0)
  low = rng.uniform(0, 60, (200, 2))
  boxes = np.float32(np.concatenate([low, low + rng.uniform(5, 25, (200, 2))], axis=1))
  instances, boxes = boxes[:37], boxes[37:]
  iou = np.asarray(box_iou(boxes, instances))
  low = np.maximum(boxes[:, None, :2], instances[None, :, :2])
  high = np.minimum(boxes[:, None, 2:], instances[None, :, 2:])
  shared = np.maximum(high - low, 0).prod(axis=2)
  areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
  expected = (iou.max(axis=1) < 0.3) & ~(shared > 0.5 * areas[:, None]).any(axis=1)
  gt = ground_truth([[0, 0, 1, 1]], [1])._replace(
      ignored_boxes=jnp.pad(instances, ((0, 30), (0, 0))))
  positive, negative = jax.jit(lambda gt: matching.split_by_overlap(
      boxes, jnp.full(len(boxes), 0.1), gt, positive_iou=0.1, negative_iou=0.3))(gt)
  np.testing.assert_array_equal(positive, iou.max(axis=1) <= 0.1)
  np.testing.assert_array_equal(negative, expected)
  assert 10 < expected.sum() < 150
