"""RoIs and their targets by hand, on one image of 100 x 100 pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.one_image import ground_truth, pad_rows
from mnc_jax.config import Config, ModelConfig, TrainConfig
from mnc_jax.model import roi_targets
from mnc_jax.structs import Proposals

ROIS = TrainConfig(rois_per_image=20)
sample_rois = jax.jit(functools.partial(roi_targets.sample_rois, config=ROIS))
mask_level_labels = jax.jit(functools.partial(
    roi_targets.mask_level_labels, config=TrainConfig()))


def proposals(boxes):
  boxes = np.asarray(boxes, np.float32)
  return Proposals(*pad_rows(
      (boxes, np.linspace(1, 0.5, len(boxes), dtype=np.float32), np.ones(len(boxes), bool),
       np.arange(100, 100 + len(boxes))), 150), np.int32(0))


def test_roi_sampling_keeps_its_quotas():
  foreground = [[10, 10, 50, 49]] * 30
  hard = [[10, 10, 50, 26]] * 60      # IoU .4
  easy = [[60, 60, 90, 90]] * 60      # IoU 0
  rois = sample_rois(
      proposals(foreground + hard + easy), ground_truth([[10, 10, 50, 50]], [1]), jax.random.key(0))
  bottoms = np.asarray(rois.boxes[:, 3])
  assert rois.valid.all()
  assert ((bottoms == 49) | (bottoms == 50)).sum() == 6     # 30 % of 20
  assert (bottoms == 26).sum() == 12                        # 85 % of the other 14
  assert (bottoms == 90).sum() == 2


def test_ground_truth_boxes_join_the_candidates():
  rois = sample_rois(
      proposals([[60, 60, 90, 90]]), ground_truth([[10, 10, 50, 50]], [1]), jax.random.key(0))
  np.testing.assert_array_equal(rois.valid, [True, True] + 18 * [False])
  assert [10, 10, 50, 50] in np.asarray(rois.boxes).tolist()
  np.testing.assert_array_equal(rois.boxes[2:], np.zeros((18, 4)))
  assert sorted(rois.anchors.tolist()) == 19 * [-1] + [100]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_unsigned_labels_claim_no_anchor(dtype):
  objects = ground_truth([[10, 10, 50, 50]], [1])
  rois = sample_rois(proposals([[60, 60, 90, 90]]),
                     objects._replace(labels=np.asarray(objects.labels, dtype)), jax.random.key(0))
  assert sorted(rois.anchors.tolist()) == 19 * [-1] + [100]


def test_foreground_fills_the_slots_of_missing_negatives():
  rois = sample_rois(
      proposals([[10, 10, 50, 49]] * 30), ground_truth([[10, 10, 50, 50]], [1]), jax.random.key(0))
  assert rois.valid.sum() == 20


@functools.cache
def compiled(**train):
  config = Config(model=ModelConfig(mask_size=4), train=TrainConfig(**train))
  return jax.jit(functools.partial(roi_targets.roi_targets, config=config))


def targets_of(boxes, gt, **train):
  count = len(boxes)
  padded = pad_rows((np.asarray(boxes, np.float32), np.ones(count, bool)), 5)
  targets = compiled(**train)(*padded, pad_rows(gt, 3))
  return jax.tree.map(lambda x: np.asarray(x)[:count], targets)


def test_roi_takes_the_object_of_largest_iou():
  gt = ground_truth([[0, 0, 40, 40], [50, 50, 90, 90]], [1, 2])
  targets = targets_of([[0, 0, 40, 38], [52, 50, 90, 90], [40, 0, 60, 20]], gt)
  np.testing.assert_array_equal(targets.labels, [1, 2, 0])
  np.testing.assert_array_equal(targets.foreground, [True, True, False])
  np.testing.assert_allclose(targets.areas[:2], [1600, 1600])


def test_mask_target_is_the_object_inside_the_roi():
  # The left half of the object is on; the RoI covers its left three quarters.
  mask = np.zeros((1, 112, 112))
  mask[:, :, :56] = 1
  targets = targets_of([[0, 0, 30, 40]], ground_truth([[0, 0, 40, 40]], [1], masks=mask))
  # Cell centres at x = 3.75, 11.25, 18.75, 26.25 pixels; on below 20.
  np.testing.assert_array_equal(targets.masks[0], [[1, 1, 1, 0]] * 4)


def test_mask_target_may_stay_soft():
  mask = np.zeros((1, 112, 112))
  mask[:, :, :56] = 1
  soft = targets_of([[0, 0, 22.86, 40]], ground_truth([[0, 0, 40, 40]], [1], masks=mask),
                  binarize_mask_targets=False)
  # The last cell's centre, x = 20.0025, is .007 of a mask's pixel beyond the object's end.
  np.testing.assert_allclose(soft.masks[0, 0], [1, 1, 1, 0.493], atol=1e-3)
  assert targets_of([[50, 50, 90, 90]], ground_truth([[0, 0, 40, 40]], [1]),
                  binarize_mask_targets=False).masks.sum() == 0


def test_mask_target_of_background_is_empty():
  targets = targets_of([[50, 50, 90, 90]], ground_truth([[0, 0, 40, 40]], [1]))
  assert targets.masks.sum() == 0


def test_roi_deltas_are_in_units_of_their_stds():
  targets = targets_of([[0, 0, 40, 40]], ground_truth([[4, 0, 44, 40]], [1]))
  np.testing.assert_allclose(targets.box_deltas[0], [0.1 / 0.1, 0, 0, 0], rtol=1e-5)


def test_rois_inside_a_crowd_are_not_in_the_losses():
  targets = targets_of([[10, 10, 30, 30], [70, 70, 90, 90]],
                  ground_truth([[0, 0, 60, 60]], [1], crowd=[1]))
  np.testing.assert_array_equal(targets.valid, [False, True])


IGNORED = jnp.array([[50.0, 50, 90, 90], [0, 0, 0, 0]])


def test_rois_on_ignored_instances_are_neither_foreground_nor_background():
  gt = ground_truth([[10, 10, 50, 50]], [1])._replace(ignored_boxes=IGNORED)
  boxes = [[50, 50, 90, 90],   # On the ignored instance.
           [50, 50, 90, 75],   # IoU .625 with it.
           [52, 52, 60, 60],   # A part of it.
           [55, 35, 95, 60],   # IoU .16 with it: background, as beside any object.
           [10, 10, 50, 50]]
  targets = targets_of(boxes, gt)
  assert targets.valid.tolist() == [False, False, False, True, True]
  assert targets.foreground.tolist() == [False, False, False, False, True]
  rois = sample_rois(proposals(boxes), gt, jax.random.key(0))
  found = {tuple(box) for box in np.asarray(rois.boxes[rois.valid]).tolist()}
  assert found == {tuple(map(float, box)) for box in boxes[3:]}


def test_an_ignored_instance_that_overlaps_more_takes_the_roi_from_its_neighbour():
  gt = ground_truth([[0, 0, 40, 40]], [1])._replace(ignored_boxes=jnp.array([[0.0, 0, 40, 60]]))
  targets = targets_of([[0, 0, 40, 44], [0, 0, 40, 56]], gt)  # IoU .91 and .73; .71 and .93.
  assert targets.foreground.tolist() == [True, False]
  assert targets.valid.tolist() == [True, False]


@pytest.mark.parametrize(("columns", "label"), [(4, 1), (3, 1), (1, 0)])
def test_mask_level_label_needs_mask_overlap(columns, label):
  # The object fills the RoI; the predicted mask covers `columns` of its 4 columns.
  boxes = jnp.array([[0.0, 0, 40, 40]])
  targets = targets_of(boxes, ground_truth([[0, 0, 40, 40]], [1]))
  logits = jnp.where(jnp.arange(4) < columns, 5.0, -5.0)[None, None] * jnp.ones((1, 4, 4))
  labels = mask_level_labels(targets, logits, boxes)
  np.testing.assert_array_equal(labels, [label])


def test_targets_take_no_gradient_from_the_rois():
  gt = ground_truth([[0, 0, 40, 40]], [1])
  boxes = pad_rows(np.float32([[1, 2, 38, 41]]), 5)

  def deltas(boxes):
    return compiled()(boxes, np.arange(5) < 1, pad_rows(gt, 3)).box_deltas.sum()

  assert deltas(boxes) != 0
  np.testing.assert_array_equal(jax.jit(jax.grad(deltas))(boxes), np.zeros((5, 4)))


def test_ground_truth_of_numpy_gives_the_same_targets_and_rois():
  gt = ground_truth([[0, 0, 40, 40], [50, 50, 90, 90]], [1, 2], crowd=[0, 1])
  boxes = np.float32([[0, 0, 40, 38], [52, 50, 80, 90], [40, 0, 60, 20]])
  config = Config(model=ModelConfig(mask_size=4), train=TrainConfig(rois_per_image=5))
  def both(gt):
    return (roi_targets.roi_targets(boxes, np.ones(3, bool), gt, config=config),
            roi_targets.sample_rois(proposals(boxes), gt, jax.random.key(0), config=config.train))
  found = both(jax.tree.map(np.asarray, gt))
  assert found[0].valid.tolist() == [True, False, True]
  jax.tree.map(np.testing.assert_array_equal, found, both(gt))


def test_masks_may_be_drawn_with_255():
  mask = np.zeros((1, 112, 112))
  mask[:, :, :56] = 255
  targets = targets_of([[0, 0, 22.86, 40]], ground_truth([[0, 0, 40, 40]], [1], masks=mask),
                       binarize_mask_targets=False)
  np.testing.assert_allclose(targets.masks[0, 0], [1, 1, 1, 0.493], atol=1e-3)
