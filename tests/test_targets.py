"""Targets by hand, on one image of 100 x 100 pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnc_jax import targets
from mnc_jax.config import Config, ModelConfig, TrainConfig
from mnc_jax.structs import AnchorOutput, Batch, Proposals

SIZE = jnp.array([100, 100])


def truth(boxes, labels, *, crowd=None, masks=None, padding=1):
  """One image of a Batch with `padding` empty rows."""
  count = len(boxes)
  def pad(x, dtype):
    x = np.asarray(x, dtype).reshape(count, *np.shape(x)[1:])
    return jnp.asarray(np.concatenate([x, np.zeros((padding, *x.shape[1:]), dtype)]))
  boxes = np.asarray(boxes, np.float32).reshape(count, 4)
  return Batch(
      images=jnp.zeros(()), image_sizes=SIZE, boxes=pad(boxes, np.float32),
      labels=pad(labels, np.int32),
      masks=pad(np.ones((count, 112, 112)) if masks is None else masks, np.uint8),
      areas=pad((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), np.float32),
      crowd=pad(np.zeros(count) if crowd is None else crowd, bool),
      valid=pad(np.ones(count), bool))


def anchor_output(boxes, valid=None):
  boxes = jnp.asarray(boxes, jnp.float32)
  count = len(boxes)
  return AnchorOutput(boxes, jnp.zeros((count, 2)), jnp.zeros((count, 4)),
                      jnp.ones(count, bool) if valid is None else jnp.asarray(valid))


def label_anchors(boxes, image_truth, valid=None, **options):
  return targets.anchor_targets(anchor_output(boxes, valid), image_truth, SIZE, jax.random.key(0),
                                config=TrainConfig(**options))


def test_anchor_labels_follow_the_thresholds():
  image_truth = truth([[10, 10, 50, 50]], [1])
  goal = label_anchors([
      [10, 10, 50, 50],      # IoU 1: positive
      [10, 10, 50, 42],      # IoU .8: positive
      [10, 10, 50, 30],      # IoU .5: neither
      [60, 60, 90, 90],      # IoU 0: negative
      [-5, 60, 30, 90],      # crosses the border: left out
  ], image_truth)
  np.testing.assert_array_equal(goal.positive, [True, True, False, False, False])
  np.testing.assert_array_equal(goal.sampled, [True, True, False, True, False])


def test_best_anchor_of_an_object_is_positive_however_small_its_overlap():
  goal = label_anchors([[10, 10, 50, 14], [60, 60, 90, 90]], truth([[10, 10, 50, 50]], [1]))
  np.testing.assert_array_equal(goal.positive, [True, False])


def test_anchors_of_cells_in_the_padding_are_left_out():
  goal = label_anchors([[10, 10, 50, 50], [60, 60, 90, 90]], truth([[10, 10, 50, 50]], [1]),
                       valid=[False, False])
  assert not goal.sampled.any()


def test_at_most_half_of_the_sampled_anchors_are_positive():
  boxes = [[10, 10, 50, 50]] * 20 + [[60, 60, 90, 90]] * 20
  goal = label_anchors(boxes, truth([[10, 10, 50, 50]], [1]), anchors_per_image=12)
  assert goal.positive.sum() == 6
  assert goal.sampled.sum() == 12


def test_negatives_fill_up_where_positives_are_short():
  boxes = [[10, 10, 50, 50]] + [[60, 60, 90, 90]] * 20
  goal = label_anchors(boxes, truth([[10, 10, 50, 50]], [1]), anchors_per_image=12)
  assert goal.positive.sum() == 1
  assert goal.sampled.sum() == 12


def test_anchor_deltas_lead_to_the_object():
  goal = label_anchors([[10, 10, 30, 50]], truth([[10, 10, 50, 50]], [1]))
  # The centre moves by 10 of 20 pixels; the width doubles.
  np.testing.assert_allclose(goal.box_deltas[0], [0.5, 0, np.log(2), 0], rtol=1e-6)


def test_crowd_is_never_a_target_and_hides_its_negatives():
  image_truth = truth([[0, 0, 60, 60]], [1], crowd=[1])
  goal = label_anchors([[0, 0, 60, 60], [10, 10, 30, 30], [65, 65, 95, 95]], image_truth)
  assert not goal.positive.any()
  np.testing.assert_array_equal(goal.sampled, [False, False, True])


def proposals(boxes):
  boxes = jnp.asarray(boxes, jnp.float32)
  return Proposals(boxes, jnp.linspace(1, 0.5, len(boxes)), jnp.ones(len(boxes), bool),
                   jnp.arange(100, 100 + len(boxes)))


def test_roi_sampling_keeps_its_quotas():
  foreground = [[10, 10, 50, 49]] * 30
  hard = [[10, 10, 50, 26]] * 60      # IoU .4
  easy = [[60, 60, 90, 90]] * 60      # IoU 0
  rois = targets.sample_rois(proposals(foreground + hard + easy), truth([[10, 10, 50, 50]], [1]),
                             jax.random.key(0), config=TrainConfig(rois_per_image=20))
  bottoms = np.asarray(rois.boxes[:, 3])
  assert rois.valid.all()
  assert ((bottoms == 49) | (bottoms == 50)).sum() == 6     # 30 % of 20
  assert (bottoms == 26).sum() == 12                        # 85 % of the other 14
  assert (bottoms == 90).sum() == 2


def test_ground_truth_boxes_join_the_candidates():
  rois = targets.sample_rois(proposals([[60, 60, 90, 90]]), truth([[10, 10, 50, 50]], [1]),
                             jax.random.key(0), config=TrainConfig(rois_per_image=4))
  np.testing.assert_array_equal(rois.valid, [True, True, False, False])
  assert [10, 10, 50, 50] in np.asarray(rois.boxes).tolist()
  np.testing.assert_array_equal(rois.boxes[2:], np.zeros((2, 4)))
  assert sorted(rois.anchors.tolist()) == [-1, -1, -1, 100]


def test_anchors_behind_the_rois_are_forced_to_their_label():
  image_truth = truth([[10, 10, 50, 50]], [1])
  # Far, far, on the object, far and across the border, far.
  output = anchor_output([[60, 60, 90, 90], [60, 60, 80, 80], [10, 10, 50, 49], [60, 60, 101, 90],
                          [55, 55, 75, 75]])
  goal = targets.AnchorTargets(jnp.array([0, 0, 1, 0, 1], bool), jnp.array([0, 0, 1, 0, 0], bool),
                               jnp.zeros((5, 4)))
  # Foreground from the first anchor and the one that crosses the border, background from the
  # second and the object's, both kinds from the last; and ground truth, which has none.
  rois = Proposals(
      jnp.array([[10.0, 10, 50, 50]] * 3 + [[60.0, 60, 90, 90]] * 3 + [[10.0, 10, 50, 50]] * 2),
      jnp.ones(8), jnp.array([True] * 7 + [False]), jnp.array([0, 3, 4, 1, 2, 4, -1, 1]))
  forced = targets.force_anchors(goal, output, rois, image_truth, SIZE, config=TrainConfig())
  assert forced.sampled.tolist() == [True, True, True, False, True]
  assert forced.positive.tolist() == [True, False, False, False, True]
  # From [60, 60, 90, 90] to [10, 10, 50, 50]: -45 of 30 pixels, and log(40 / 30).
  np.testing.assert_allclose(forced.box_deltas[0], [-1.5, -1.5, *[np.log(4 / 3)] * 2], rtol=1e-5)
  np.testing.assert_array_equal(forced.box_deltas[2], np.zeros(4))


def test_foreground_fills_up_where_negatives_are_short():
  rois = targets.sample_rois(proposals([[10, 10, 50, 49]] * 30), truth([[10, 10, 50, 50]], [1]),
                             jax.random.key(0), config=TrainConfig(rois_per_image=20))
  assert rois.valid.sum() == 20


def roi_goal(boxes, image_truth, **train):
  config = Config(model=ModelConfig(mask_size=4), train=TrainConfig(**train))
  boxes = jnp.asarray(boxes, jnp.float32)
  return targets.roi_targets(boxes, jnp.ones(len(boxes), bool), image_truth, config=config)


def test_roi_takes_the_object_of_largest_iou():
  image_truth = truth([[0, 0, 40, 40], [50, 50, 90, 90]], [1, 2])
  goal = roi_goal([[0, 0, 40, 38], [52, 50, 90, 90], [40, 0, 60, 20]], image_truth)
  np.testing.assert_array_equal(goal.labels, [1, 2, 0])
  np.testing.assert_array_equal(goal.foreground, [True, True, False])
  np.testing.assert_allclose(goal.areas[:2], [1600, 1600])


def test_mask_target_is_the_object_seen_through_the_roi():
  # The left half of the object is on; the RoI covers its left three quarters.
  mask = np.zeros((1, 112, 112))
  mask[:, :, :56] = 1
  goal = roi_goal([[0, 0, 30, 40]], truth([[0, 0, 40, 40]], [1], masks=mask))
  # Cell centres at x = 3.75, 11.25, 18.75, 26.25 pixels; on below 20.
  np.testing.assert_array_equal(goal.masks[0], [[1, 1, 1, 0]] * 4)


def test_mask_target_may_stay_soft():
  mask = np.zeros((1, 112, 112))
  mask[:, :, :56] = 1
  soft = roi_goal([[0, 0, 22.86, 40]], truth([[0, 0, 40, 40]], [1], masks=mask),
                  binarize_mask_targets=False)
  # The last cell's centre, x = 20.0025, lies .007 of a mask's pixel beyond the object's end.
  np.testing.assert_allclose(soft.masks[0, 0], [1, 1, 1, 0.493], atol=1e-3)
  assert roi_goal([[50, 50, 90, 90]], truth([[0, 0, 40, 40]], [1]),
                  binarize_mask_targets=False).masks.sum() == 0


def test_truth_joins_without_crowds_and_padding():
  image_truth = truth([[0, 0, 40, 40], [50, 50, 90, 90]], [1, 2], crowd=[0, 1])
  boxes, valid = targets.join_truth(jnp.full((2, 4), 7.0), jnp.array([True, False]), image_truth)
  np.testing.assert_array_equal(boxes[:3], [[7] * 4, [7] * 4, [0, 0, 40, 40]])
  np.testing.assert_array_equal(valid, [True, False, True, False, False])


def test_mask_target_of_background_is_empty():
  goal = roi_goal([[50, 50, 90, 90]], truth([[0, 0, 40, 40]], [1]))
  assert goal.masks.sum() == 0


def test_roi_deltas_are_in_units_of_their_stds():
  goal = roi_goal([[0, 0, 40, 40]], truth([[4, 0, 44, 40]], [1]))
  np.testing.assert_allclose(goal.box_deltas[0], [0.1 / 0.1, 0, 0, 0], rtol=1e-5)


def test_rois_inside_a_crowd_are_not_in_the_losses():
  goal = roi_goal([[10, 10, 30, 30], [70, 70, 90, 90]], truth([[0, 0, 60, 60]], [1], crowd=[1]))
  np.testing.assert_array_equal(goal.valid, [False, True])


@pytest.mark.parametrize(("columns", "label"), [(4, 1), (3, 1), (1, 0)])
def test_mask_level_label_needs_mask_overlap(columns, label):
  # The object fills the RoI; the predicted mask covers `columns` of its 4 columns.
  boxes = jnp.array([[0.0, 0, 40, 40]])
  goal = roi_goal(boxes, truth([[0, 0, 40, 40]], [1]))
  logits = jnp.where(jnp.arange(4) < columns, 5.0, -5.0)[None, None] * jnp.ones((1, 4, 4))
  labels = targets.mask_level_labels(goal, logits, boxes, config=TrainConfig())
  np.testing.assert_array_equal(labels, [label])


def test_targets_take_no_gradient_from_the_rois():
  image_truth = truth([[0, 0, 40, 40]], [1])
  def deltas(boxes):
    goal = targets.roi_targets(boxes, jnp.ones(1, bool), image_truth, config=Config())
    return goal.box_deltas.sum()
  np.testing.assert_array_equal(jax.grad(deltas)(jnp.array([[1.0, 2, 38, 41]])), np.zeros((1, 4)))
