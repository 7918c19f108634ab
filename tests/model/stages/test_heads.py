"""Stages 1 to 3 and the bridge, each by itself."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
from helpers.one_image import pad_rows
from mnc_jax.config import ModelConfig, ProposalConfig
from mnc_jax.model.stages import box_stage, bridge, category_stage, mask_stage
from mnc_jax.structs import AnchorOutput, StageOutput

CONFIG = tiny.tiny_config().model


def anchor_output(boxes, scores, valid=None):
  boxes, scores = np.float32(boxes), np.float32(scores)
  logits = np.stack([np.zeros_like(scores), np.log(scores / (1 - scores))], axis=1)
  valid = np.ones(len(boxes), bool) if valid is None else np.array(valid)
  return AnchorOutput(*pad_rows((boxes, logits, np.zeros_like(boxes), valid), 5))


propose_boxes = jax.jit(box_stage.propose_boxes, static_argnames=("config", "inclusive_corners"))


def propose(output, *, inclusive_corners=False, **options):
  options = {"pre_nms": 10, "num_proposals": 4, "min_box_size": 2.0} | options
  return propose_boxes(output, np.array([50, 50]), config=ProposalConfig(**options),
                       inclusive_corners=inclusive_corners)


def test_proposals_come_best_first_clipped_and_without_duplicates():
  output = anchor_output([[0, 0, 20, 20], [0, 0, 20, 21], [30, 30, 60, 60]], [0.6, 0.7, 0.9])
  found = propose(output)
  np.testing.assert_array_equal(found.valid, [True, True, False, False])
  np.testing.assert_allclose(found.boxes[:2], [[30, 30, 50, 50], [0, 0, 20, 21]])
  np.testing.assert_allclose(found.scores, [0.9, 0.7, 0, 0], rtol=1e-5)
  assert not found.boxes[2:].any()


def test_small_boxes_and_anchors_of_the_padding_are_never_proposed():
  output = anchor_output([[0, 0, 20, 1], [0, 0, 20, 20], [30, 30, 40, 40]], [0.9, 0.8, 0.7],
                         valid=[True, False, True])
  found = propose(output)
  assert int(found.valid.sum()) == 1
  np.testing.assert_allclose(found.boxes[0], [30, 30, 40, 40])


def test_proposals_of_the_release_end_at_the_last_pixel_and_count_it():
  output = anchor_output([[0, 0, 20, 20], [30, 30, 60, 49]], [0.6, 0.9])
  found = propose(output, inclusive_corners=True)
  # Cut at pixel 49, which belongs to the box; the other grows by a pixel.
  np.testing.assert_allclose(found.boxes, [[30, 30, 50, 50], [0, 0, 21, 21], [0] * 4, [0] * 4])
  # The sides of 2 pixels count as 3, and neighbours that touch overlap.
  small = anchor_output([[0, 0, 2, 2], [2, 0, 4, 2]], [0.9, 0.8])
  assert int(propose(small, min_box_size=3.0).valid.sum()) == 0
  assert int(propose(small, min_box_size=3.0, inclusive_corners=True).valid.sum()) == 2
  assert int(propose(small, nms_iou=0.1, inclusive_corners=True).valid.sum()) == 1


def test_proposals_without_a_place_are_counted():
  boxes = [[0, 0, 10, 10], [0, 0, 10, 11], [20, 0, 30, 10], [40, 0, 50, 10], [0, 40, 10, 50]]
  output = anchor_output(boxes, [0.9, 0.8, 0.7, 0.6, 0.5], valid=[True] * 4 + [False])
  assert int(propose(output).truncated) == 0
  # Dropped for its overlap, the second is not counted; beyond `pre_nms` everything is.
  assert int(propose(output, num_proposals=1).truncated) == 2
  assert int(propose(output, pre_nms=1).truncated) == 3
  assert int(propose(output, pre_nms=3, num_proposals=1).truncated) == 2


def test_only_the_best_enter_the_nms():
  output = anchor_output([[0, 0, 20, 20], [30, 30, 40, 40]], [0.9, 0.8])
  assert int(propose(output, pre_nms=1).valid.sum()) == 1


def test_anchor_scores_have_one_row_an_anchor():
  @jax.jit
  def score(features, size):
    params = box_stage.init_box_stage(jax.random.key(0), CONFIG, 16)
    return box_stage.score_anchors(params, features, size, stride=4, config=CONFIG)

  output = score(np.ones((3, 4, 16), np.float32), np.array([12, 8]))
  assert output.anchors.shape == (3 * 4 * 2, 4)
  # Row, column, anchor; the image is 3 x 2 cells.
  np.testing.assert_array_equal(output.valid.reshape(3, 4, 2)[:, :, 0],
                                [[True, True, False, False]] * 3)
  np.testing.assert_allclose(output.anchors[0], [-6, -6, 10, 10])


def test_conv_mask_cells_predict_their_own_pixels():
  config = tiny.tiny_config(model={"mask_head": "conv", "mask_size": 24}).model
  @jax.jit
  def predict(features):
    params = mask_stage.init_mask_stage(jax.random.key(0), config, 4)
    return mask_stage.predict_masks(params, features, config=config)

  features = np.zeros((1, 8, 8, 4), np.float32)
  still = predict(features)
  # A copy: JAX may read the memory of the first later.
  features = features.copy()
  features[0, 2, 5] = 100
  moved = predict(features)
  assert moved.shape == (1, 24, 24)
  # Two 3 x 3 convolutions reach two cells far: cells 0 ... 4 and 3 ... 7, three pixels each.
  rows, columns = np.nonzero(np.abs(moved - still)[0] > 1e-6)
  assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 14, 9, 23)


def test_conv_masks_must_divide_into_cells():
  config = tiny.tiny_config(model={"mask_head": "conv", "mask_size": 20}).model
  with pytest.raises(ValueError, match="mask_size.*multiple of.*roi_size, found 20 and 8"):
    mask_stage.init_mask_stage(jax.random.key(0), config, 4)


@functools.cache
def category_params():
  return jax.jit(lambda: category_stage.init_category_stage(jax.random.key(0), CONFIG, 4))()


classify = jax.jit(functools.partial(category_stage.predict_categories, config=CONFIG))
refine_boxes = jax.jit(bridge.refine_boxes, static_argnames=("config", "with_background"))


def test_features_outside_the_mask_do_not_reach_the_mask_path():
  # With the box path's first layer at zero, only masked features count.
  params = category_params()
  params = params | {"fc6": jax.tree.map(jnp.zeros_like, params["fc6"])}
  features = jax.random.normal(jax.random.key(1), (1, 8, 8, 4))
  mask = jnp.full((1, 12, 12), 40.0).at[:, :, 6:].set(-40.0)  # the right half is off
  changed = features.at[:, :, 5:].add(3.0)                    # cells wholly in that half
  run = functools.partial(classify, params)
  np.testing.assert_allclose(run(changed, mask)[0], run(features, mask)[0], atol=1e-5)
  inside = features.at[:, :, :3].add(3.0)
  assert float(jnp.abs(run(inside, mask)[0] - run(features, mask)[0]).max()) > 1e-4


def test_categories_have_their_shapes_and_a_gradient_in_the_mask():
  features, masks = jnp.ones((2, 8, 8, 4)), jnp.zeros((2, 12, 12))
  categories, box_categories, deltas = classify(category_params(), features, masks)
  assert categories.shape == box_categories.shape == (2, tiny.NUM_CATEGORIES)
  assert deltas.shape == (2, tiny.NUM_CATEGORIES, 4)
  features = jax.random.normal(jax.random.key(2), (2, 8, 8, 4))
  slope = jax.jit(jax.grad(lambda m: classify(category_params(), features, m)[0][0, 1]))(masks)
  assert float(jnp.abs(slope[0]).max()) > 0
  assert not slope[1].any()


def stage_output(logits, deltas):
  return StageOutput(jnp.array([[10.0, 10, 30, 30]]), jnp.ones(1, bool), jnp.zeros((1, 12, 12)),
                     jnp.array([logits]), jnp.zeros((1, 3)), jnp.asarray(deltas)[None])


def test_bridge_takes_the_best_foreground_even_where_background_wins():
  deltas = [[9.0, 9, 9, 9], [1.0, 0, 0, 0], [0.0, -2, 0, 0]]
  output = stage_output([5.0, 1.0, 2.0], deltas)
  # Category 2 wins: dy = -2 x .1 of 20 pixels is 4 up.
  boxes = refine_boxes(output, jnp.array([40, 40]), config=CONFIG)
  np.testing.assert_allclose(boxes, [[10, 6, 30, 26]], rtol=1e-5)


def test_bridge_of_the_release_takes_the_deltas_of_background_where_it_wins():
  deltas = [[0.0, 2, 0, 0], [1.0, 0, 0, 0], [0.0, -2, 0, 0]]
  for logits, boxes in (([5.0, 1.0, 2.0], [[10, 14, 30, 34]]),
                        ([1.0, 1.5, 2.0], [[10, 6, 30, 26]])):
    found = refine_boxes(stage_output(logits, deltas), jnp.array([40, 40]), config=CONFIG,
                                with_background=True)
    np.testing.assert_allclose(found, boxes, rtol=1e-5)


def test_bridge_stays_inside_the_image():
  output = stage_output([0.0, 1.0, 0.0], [[0.0] * 4, [5.0, 0, 0, 0], [0.0] * 4])
  boxes = refine_boxes(output, jnp.array([40, 40]), config=CONFIG)
  np.testing.assert_allclose(boxes, [[20, 10, 40, 30]], rtol=1e-5)


def test_bridge_of_the_release_adds_a_pixel_and_stays_inside():
  config = dataclasses.replace(CONFIG, inclusive_corners=True)
  for deltas, boxes in (([0.0] * 4, [[10, 10, 31, 31]]), ([5.0, 0, 0, 0], [[20, 10, 40, 31]])):
    output = stage_output([0.0, 1.0, 0.0], [[0.0] * 4, deltas, [0.0] * 4])
    found = refine_boxes(output, jnp.array([40, 40]), config=config)
    np.testing.assert_allclose(found, boxes, rtol=1e-5)


def test_bridge_passes_gradient_to_the_box_and_to_the_chosen_deltas_only():
  output = stage_output([0.0, 1.0, 0.0], jnp.zeros((3, 4)))
  def left(boxes, deltas):
    moved = output._replace(boxes=boxes, box_deltas=deltas)
    return bridge.refine_boxes(moved, jnp.array([40, 40]), config=CONFIG)[0, 0]
  by_box, by_deltas = jax.jit(jax.grad(left, (0, 1)))(output.boxes, output.box_deltas)
  np.testing.assert_allclose(by_box, [[1, 0, 0, 0]], atol=1e-6)
  # x1 = centre + dx w - w exp(dw) / 2, with deltas in units of .1 and .2.
  np.testing.assert_allclose(by_deltas[0], [[0] * 4, [2.0, 0, -2.0, 0], [0] * 4], atol=1e-5)


def test_mask_convs_counts_the_convolutions_of_the_mask_head():
  config = ModelConfig(mask_head="conv", mask_convs=4, mask_hidden=6, mask_size=8, roi_size=4)
  params = jax.eval_shape(
      lambda: mask_stage.init_mask_stage(jax.random.key(0), config, channels=5))
  kernels = {name: layer["kernel"].shape for name, layer in params.items()}
  assert kernels == {"conv1": (3, 3, 5, 6), "conv2": (3, 3, 6, 6), "conv3": (3, 3, 6, 6),
                     "conv4": (3, 3, 6, 6), "mask": (6, 4)}


@pytest.mark.parametrize("model", [{}, {"mask_head": "dense", "backbone": "resnet50"}])
def test_heads_of_no_boxes(model):
  config = tiny.tiny_config(model=model).model
  def outputs():
    features = jnp.zeros((0, config.roi_size, config.roi_size, 16))
    masks = mask_stage.predict_masks(
        mask_stage.init_mask_stage(jax.random.key(0), config, 16), features, config=config)
    return masks, *category_stage.predict_categories(
        category_stage.init_category_stage(jax.random.key(1), config, 16), features, masks,
        config=config)
  assert [x.shape for x in jax.eval_shape(outputs)] == [(0, 12, 12), (0, 3), (0, 3), (0, 3, 4)]
