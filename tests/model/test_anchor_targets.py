"""Targets of stage 1 by hand, on one image of 100 x 100 pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from helpers.one_image import SIZE, ground_truth, pad_rows
from mnc_jax.config import TrainConfig
from mnc_jax.model import anchor_targets
from mnc_jax.ops.boxes import decode_boxes
from mnc_jax.structs import AnchorOutput, Proposals


def anchor_output(boxes, valid=None):
  boxes = jnp.asarray(boxes, jnp.float32)
  count = len(boxes)
  return AnchorOutput(boxes, jnp.zeros((count, 2)), jnp.zeros((count, 4)),
                      jnp.ones(count, bool) if valid is None else jnp.asarray(valid))


@functools.cache
def compiled(**options):
  return jax.jit(functools.partial(
      anchor_targets.anchor_targets, config=TrainConfig(**options)))


def label_anchors(boxes, gt, valid=None, **options):
  count = len(boxes)
  output = pad_rows(anchor_output(boxes, valid), 40)
  targets = compiled(**options)(output, gt, SIZE, jax.random.key(0))
  # Padding is never sampled.
  assert not targets.sampled[count:].any()
  return jax.tree.map(lambda x: np.asarray(x)[:count], targets)


def test_anchor_labels_follow_the_thresholds():
  gt = ground_truth([[10, 10, 50, 50]], [1])
  targets = label_anchors([
      [10, 10, 50, 50],      # IoU 1: positive
      [10, 10, 50, 42],      # IoU .8: positive
      [10, 10, 50, 30],      # IoU .5: neither
      [60, 60, 90, 90],      # IoU 0: negative
      [-5, 60, 30, 90],      # crosses the border: neither
  ], gt)
  np.testing.assert_array_equal(targets.positive, [True, True, False, False, False])
  np.testing.assert_array_equal(targets.sampled, [True, True, False, True, False])


def test_best_anchor_of_an_object_is_positive_however_small_its_overlap():
  gt = ground_truth([[10, 10, 50, 50]], [1])
  targets = label_anchors([[10, 10, 50, 14], [60, 60, 90, 90]], gt)
  np.testing.assert_array_equal(targets.positive, [True, False])


def test_anchors_of_cells_in_the_padding_are_never_sampled():
  gt = ground_truth([[10, 10, 50, 50]], [1])
  targets = label_anchors([[10, 10, 50, 50], [60, 60, 90, 90]], gt, valid=[False, False])
  assert not targets.sampled.any()


def test_at_most_half_of_the_sampled_anchors_are_positive():
  boxes = [[10, 10, 50, 50]] * 20 + [[60, 60, 90, 90]] * 20
  targets = label_anchors(boxes, ground_truth([[10, 10, 50, 50]], [1]), anchors_per_image=12)
  assert targets.positive.sum() == 6
  assert targets.sampled.sum() == 12


def test_negatives_fill_the_slots_of_missing_positives():
  boxes = [[10, 10, 50, 50]] + [[60, 60, 90, 90]] * 20
  targets = label_anchors(boxes, ground_truth([[10, 10, 50, 50]], [1]), anchors_per_image=12)
  assert targets.positive.sum() == 1
  assert targets.sampled.sum() == 12


def test_anchor_deltas_lead_to_the_object():
  targets = label_anchors([[10, 10, 30, 50]], ground_truth([[10, 10, 50, 50]], [1]))
  # The centre moves by 10 of 20 pixels; the width doubles.
  np.testing.assert_allclose(targets.box_deltas[0], [0.5, 0, np.log(2), 0], rtol=1e-6)


def test_instances_of_several_blocks_are_all_compared():
  # 40 instances, crowd and padding between them; each has an anchor of IoU .5, its best.
  rng = np.random.default_rng(0)
  corners = np.stack(np.meshgrid(np.arange(8), np.arange(5)), -1).reshape(-1, 2) * 12.0
  boxes = np.concatenate([corners, corners + rng.uniform(6, 10, (40, 2))], axis=1)
  counts, crowd = np.arange(40) % 5 != 2, np.arange(40) % 10 == 7
  gt = ground_truth(boxes, np.ones(40), crowd=crowd, padding=0)._replace(valid=counts | crowd)
  anchors = boxes.copy()
  anchors[:, 2] -= (boxes[:, 2] - boxes[:, 0]) / 2
  targets = label_anchors(anchors, gt, anchors_per_image=128)
  np.testing.assert_array_equal(targets.positive, counts)
  np.testing.assert_allclose(
      decode_boxes(targets.box_deltas, anchors)[counts], boxes[counts], rtol=1e-5)


def test_crowd_is_never_a_target_and_hides_its_negatives():
  gt = ground_truth([[0, 0, 60, 60]], [1], crowd=[1])
  targets = label_anchors([[0, 0, 60, 60], [10, 10, 30, 30], [65, 65, 95, 95]], gt)
  assert not targets.positive.any()
  np.testing.assert_array_equal(targets.sampled, [False, False, True])


def test_anchors_on_ignored_instances_are_not_sampled():
  gt = ground_truth([[10, 10, 45, 45]], [1])._replace(
      ignored_boxes=jnp.array([[50.0, 50, 90, 90], [0, 0, 0, 0]]))
  targets = label_anchors([
      [50, 50, 90, 90],      # On it.
      [50, 50, 90, 64],      # IoU .35 with it.
      [55, 55, 60, 60],      # A part of it.
      [55, 35, 95, 55],      # IoU .08 with it: negative, as beside any object.
      [10, 10, 45, 45]], gt)
  assert targets.sampled.tolist() == [False, False, False, True, True]
  assert targets.positive.tolist() == [False] * 4 + [True]


def test_anchors_of_the_rois_are_forced_to_their_label():
  gt = ground_truth([[10, 10, 50, 50]], [1])
  # Far, far, on the object, far and across the border, far.
  output = anchor_output([[60, 60, 90, 90], [60, 60, 80, 80], [10, 10, 50, 49], [60, 60, 101, 90],
                          [55, 55, 75, 75]])
  targets = anchor_targets.AnchorTargets(
      jnp.array([0, 0, 1, 0, 1], bool), jnp.array([0, 0, 1, 0, 0], bool), jnp.zeros((5, 4)))
  # Foreground from the first anchor and the one that crosses the border, background from the
  # second and the object's, both kinds from the last; and ground truth, which has none.
  rois = Proposals(
      jnp.array([[10.0, 10, 50, 50]] * 3 + [[60.0, 60, 90, 90]] * 3 + [[10.0, 10, 50, 50]] * 2),
      jnp.ones(8), jnp.array([True] * 7 + [False]), jnp.array([0, 3, 4, 1, 2, 4, -1, 1]),
      jnp.int32(0))
  force = jax.jit(functools.partial(anchor_targets.force_anchors, config=TrainConfig()))
  forced = force(targets, output, rois, gt, SIZE)
  assert forced.sampled.tolist() == [True, True, True, False, True]
  assert forced.positive.tolist() == [True, False, False, False, True]
  # From [60, 60, 90, 90] to [10, 10, 50, 50]: -45 of 30 pixels, and log(40 / 30).
  np.testing.assert_allclose(forced.box_deltas[0], [-1.5, -1.5, *[np.log(4 / 3)] * 2], rtol=1e-5)
  np.testing.assert_array_equal(forced.box_deltas[2], np.zeros(4))


def test_a_forced_anchor_that_overlaps_nothing_goes_to_the_object_of_its_roi():
  # The crowd region is the first row; the RoI has left its anchor for the object beside it.
  gt = ground_truth([[60, 60, 90, 90], [17, 0, 33, 16]], [1, 1], crowd=[1, 0])
  output = anchor_output([[0, 0, 16, 16]])
  nothing = anchor_targets.AnchorTargets(
      jnp.zeros(1, bool), jnp.zeros(1, bool), jnp.zeros((1, 4)))
  rois = Proposals(jnp.array([[17.0, 0, 33, 16]]), jnp.ones(1), jnp.array([True]), jnp.array([0]),
                   jnp.int32(0))
  forced = anchor_targets.force_anchors(nothing, output, rois, gt, SIZE, config=TrainConfig())
  assert forced.positive.tolist() == [True]
  np.testing.assert_allclose(forced.box_deltas[0], [17 / 16, 0, 0, 0], rtol=1e-5)


def test_ground_truth_of_numpy_gives_the_same_targets():
  gt = ground_truth([[10, 10, 50, 50], [60, 60, 90, 90]], [1, 1], crowd=[0, 1])
  output = anchor_output([[10, 10, 50, 42], [61, 61, 80, 80], [60, 10, 90, 40]])
  rois = Proposals(output.anchors, jnp.ones(3), jnp.ones(3, bool), jnp.arange(3), np.int32(0))
  def both(gt):
    targets = anchor_targets.anchor_targets(
        output, gt, SIZE, jax.random.key(0), config=TrainConfig())
    return targets, anchor_targets.force_anchors(
        targets, output, rois, gt, SIZE, config=TrainConfig())
  found = both(jax.tree.map(np.asarray, gt))
  assert found[0].sampled.tolist() == [True, False, True]
  jax.tree.map(np.testing.assert_array_equal, found, both(gt))
