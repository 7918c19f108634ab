"""Whole-model tests: the properties that make it a cascade."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
from mnc_jax.config import ProposalConfig
from mnc_jax.model import losses, roi_targets
from mnc_jax.model.backbones import features
from mnc_jax.model.cascade import (
  cascade_loss,
  extract_features,
  init_params,
  mask_and_classify,
  run_cascade,
  score_anchors,
)
from mnc_jax.model.stages import box_stage
from mnc_jax.ops.boxes import clip_boxes, decode_boxes


@functools.cache
def tiny_params():
  return jax.jit(lambda: init_params(jax.random.key(0), tiny.tiny_config()))()


@functools.cache
def loss_fn(config):
  return jax.jit(functools.partial(cascade_loss, config=config))


@functools.cache
def gradients(config):
  """Gradient of every entry of the metrics on the same two images: {term: tree}."""
  terms = lambda params, batch, key: cascade_loss(params, batch, key, config=config)[1]
  return jax.jit(jax.jacrev(terms))(tiny_params(), tiny.make_batch(), jax.random.key(1))


@functools.cache
def value_and_gradient(config):
  total = lambda params, batch, key: cascade_loss(params, batch, key, config=config)[0]
  return jax.jit(jax.value_and_grad(total))


def total_size(tree):
  return sum(float(jnp.abs(x).sum()) for x in jax.tree.leaves(tree))


def test_parameters_have_the_four_stages_at_top():
  assert set(tiny_params()) == {"features", "box_stage", "mask_stage", "category_stage"}
  assert {x.dtype for x in jax.tree.leaves(tiny_params())} == {jnp.dtype("float32")}


def test_missing_category_count_is_reported_with_the_fix():
  config = tiny.tiny_config(model={"num_categories": 0})
  with pytest.raises(ValueError, match="num_categories.*found 0.*with_categories"):
    init_params(jax.random.key(0), config)


def test_loss_is_the_sum_of_its_stages():
  loss, metrics = loss_fn(tiny.tiny_config())(tiny_params(), tiny.make_batch(), jax.random.key(1))
  assert set(metrics) == {"loss", "loss_1", "loss_2", "loss_3", "loss_4", "loss_5",
                          "truncated_proposals_per_image"}
  np.testing.assert_allclose(loss, sum(metrics[f"loss_{i}"] for i in range(1, 6)), rtol=1e-6)
  # An untrained mask is .5 everywhere, an untrained objectness too.
  np.testing.assert_allclose(metrics["loss_2"], np.log(2), atol=0.05)


def test_three_stages_leave_the_last_two_out():
  config = tiny.tiny_config(train={"num_stages": 3})
  _, metrics = loss_fn(config)(tiny_params(), tiny.make_batch(), jax.random.key(1))
  assert set(metrics) == {"loss", "loss_1", "loss_2", "loss_3", "truncated_proposals_per_image"}


def test_ground_truth_boxes_join_stages_4_and_5_alone():
  configs = tiny.tiny_config(), tiny.tiny_config(train={"gt_in_stage_4": True})
  without, joined = (loss_fn(config)(tiny_params(), tiny.make_batch(), jax.random.key(1))[1]
                     for config in configs)
  for term in ("loss_1", "loss_2", "loss_3"):
    np.testing.assert_allclose(joined[term], without[term], rtol=1e-6)
  # Untrained masks are nearly the same everywhere.
  for term, least in (("loss_4", 1e-5), ("loss_5", 1e-3)):
    assert abs(float(joined[term] - without[term])) > least


def test_forced_anchors_change_the_first_loss_alone():
  configs = tiny.tiny_config(), tiny.tiny_config(train={"force_roi_anchors": True})
  without, forced = (loss_fn(config)(tiny_params(), tiny.make_batch(), jax.random.key(1))[1]
                     for config in configs)
  assert abs(float(forced["loss_1"] - without["loss_1"])) > 1e-4
  for stage in range(2, 6):
    np.testing.assert_allclose(forced[f"loss_{stage}"], without[f"loss_{stage}"], rtol=1e-6)


def test_release_bridge_changes_the_refined_boxes_where_background_wins():
  params = jax.tree.map(lambda x: x, tiny_params())
  bias = params["category_stage"]["category"]["bias"]
  params["category_stage"]["category"]["bias"] = bias.at[0].set(50.0)
  deltas = params["category_stage"]["box_deltas"]["bias"]
  params["category_stage"]["box_deltas"]["bias"] = deltas.at[:4].set(jnp.array([0.0, 5, 0, 0]))
  batch = tiny.make_batch(1)
  ours, release = (
      run_tiny(release_bridge=choice)(params, batch.images, batch.image_sizes)[1].boxes[0]
      for choice in (False, True))
  half = ours.shape[0] // 2
  np.testing.assert_allclose(ours[:half], release[:half], atol=1e-4)
  assert float(jnp.abs(ours[half:] - release[half:]).max()) > 1


def run_tiny(**inference):
  config = tiny.tiny_config(inference=inference)
  return jax.jit(functools.partial(run_cascade, config=config))


def test_samples_of_refined_rois_change_stages_4_and_5_alone():
  batch = tiny.make_batch(1)
  pooled, once = (run_tiny(refined_roi_pool=samples)(
      tiny_params(), batch.images, batch.image_sizes)[1] for samples in (0, 1))
  np.testing.assert_array_equal(pooled.boxes, once.boxes)
  moved = jnp.abs(pooled.mask_logits - once.mask_logits).max(axis=(0, 2, 3))
  assert not moved[:16].any() and moved[16:].max() > 1e-4


def test_rois_with_inclusive_corners_are_warped_by_their_corner_pixels():
  config, batch = tiny.tiny_config(), tiny.make_batch(1)
  shared = features_of(tiny_params(), batch.images, batch.image_sizes, config)
  boxes, valid = jnp.array([[4.0, 6, 31, 41]]), jnp.ones(1, bool)
  run_heads = functools.partial(mask_and_classify, tiny_params(), shared, valid=valid)
  release = tiny.override(config, model={"inclusive_corners": True})
  found, corners = run_heads(boxes=boxes, config=release), run_heads(
      boxes=jnp.array([[4.0, 6, 30, 40]]), config=config)
  np.testing.assert_array_equal(found.boxes, boxes)
  np.testing.assert_allclose(found.mask_logits, corners.mask_logits, atol=1e-6)
  without = run_heads(boxes=boxes, config=config)
  assert jnp.abs(found.mask_logits - without.mask_logits).max() > 1e-4


def test_stage_weights_scale_their_losses():
  batch = tiny.make_batch()
  _, one = loss_fn(tiny.tiny_config())(tiny_params(), batch, jax.random.key(1))
  weighted = tiny.tiny_config(train={"weight_box": 3.0, "weight_mask": 2.0, "weight_category": 0.5})
  _, other = loss_fn(weighted)(tiny_params(), batch, jax.random.key(1))
  for name, weight in (("loss_1", 3.0), ("loss_2", 2.0), ("loss_3", 0.5), ("loss_4", 2.0)):
    np.testing.assert_allclose(other[name], weight * one[name], rtol=1e-5)


def features_of(params, images, image_sizes, config):
  """Returns the features of the first image."""
  shared = extract_features(params, images, image_sizes, config=config)
  return jax.tree.map(lambda x: x[0], shared)


def zero_box_deltas(params):
  """A stage 3 that moves no box."""
  stage = dict(params["category_stage"])
  stage["box_deltas"] = jax.tree.map(jnp.zeros_like, stage["box_deltas"])
  return params | {"category_stage": stage}


def test_stages_4_and_5_equal_2_and_3_on_equal_boxes():
  params = zero_box_deltas(tiny_params())
  _, metrics = loss_fn(tiny.tiny_config())(params, tiny.make_batch(), jax.random.key(1))
  np.testing.assert_allclose(metrics["loss_4"], metrics["loss_2"], rtol=1e-5)
  np.testing.assert_allclose(metrics["loss_5"], metrics["loss_3"], rtol=1e-5)


@pytest.mark.parametrize("term", ["loss_2", "loss_3", "loss_4", "loss_5"])
def test_later_losses_move_the_box_stage_through_the_coordinates(term):
  # The point of the paper, in one assertion.
  gradient = gradients(tiny.tiny_config())[term]
  assert total_size(gradient["box_stage"]["box_deltas"]) > 1e-6
  # The choice of boxes passes no gradient, so the objectness gets none.
  assert total_size(gradient["box_stage"]["objectness"]) == 0


def test_category_loss_moves_the_mask_stage():
  gradient = gradients(tiny.tiny_config())["loss_3"]
  assert total_size(gradient["mask_stage"]) > 1e-6


@pytest.mark.parametrize("term", ["loss_3", "loss_5"])
def test_box_gradient_off_cuts_the_box_stage_off(term):
  config = tiny.tiny_config(model={"box_gradient": False})
  gradient = gradients(config)[term]
  assert total_size(gradient["box_stage"]) == 0
  assert total_size(gradient["mask_stage"]) > 1e-6


def test_box_gradient_clip_bounds_the_gradient_of_later_losses_in_box_deltas():
  limit = 1e-7
  clipped = tiny.tiny_config(model={"box_gradient_clip": limit})
  free, held = gradients(tiny.tiny_config()), gradients(clipped)
  # A bias collects the deltas of at most 12 RoIs an image; the loss is the mean of two images.
  most = 12 * limit * 1.001
  for term, stage in (("loss_3", "box_stage"), ("loss_4", "box_stage"),
                      ("loss_4", "category_stage")):
    loose, tight = (jnp.abs(tree[term][stage]["box_deltas"]["bias"]).max() for tree in (free, held))
    assert most < loose, (term, stage)
    assert 0 < tight <= most, (term, stage)
  # Neither stage 1's own loss nor the later stages' weights change.
  for term, stage in (("loss_1", "box_stage"), ("loss_3", "category_stage")):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
                 held[term][stage], free[term][stage])


def test_unshared_features_take_gradient_from_their_own_stage_alone():
  config = tiny.tiny_config(model={"share_features": False, "box_gradient": False})
  params = jax.jit(lambda: init_params(jax.random.key(0), config))()
  assert set(params) - set(tiny_params()) == {"mask_features", "category_features"}
  first, other = (jax.tree.leaves(params[name]) for name in ("features", "mask_features"))
  assert any((a != b).any() for a, b in zip(first, other))
  terms = lambda params, batch: cascade_loss(params, batch, jax.random.key(1), config=config)[1]
  found = jax.jit(jax.jacrev(terms))(params, tiny.make_batch())
  moved = {term: {name for name in params if "features" in name and total_size(tree[name]) > 1e-6}
           for term, tree in found.items()}
  # The category loss reaches the mask's backbone through the masks.
  assert moved["loss_1"] == {"features"}
  assert moved["loss_2"] == moved["loss_4"] == {"mask_features"}
  assert moved["loss_3"] == moved["loss_5"] == {"mask_features", "category_features"}


def test_shared_features_take_gradient_from_every_stage():
  for term in ("loss_1", "loss_2", "loss_3", "loss_4", "loss_5"):
    gradient = gradients(tiny.tiny_config())[term]
    assert total_size(gradient["features"]) > 1e-6, term


def widen(batch, extra):
  """Pads the images of a batch further right and below."""
  return batch._replace(images=jnp.pad(batch.images, ((0, 0), (0, extra), (0, 2 * extra), (0, 0))))


@pytest.mark.parametrize("model", [{}, {"roi_grid": "caffe", "inclusive_corners": True}])
def test_larger_buckets_and_more_empty_instances_change_nothing(model):
  config = tiny.sample_everything(tiny.tiny_config(model=model))
  params = tiny_params()
  _, metrics = loss_fn(config)(params, tiny.make_batch(), jax.random.key(1))
  _, padded = loss_fn(config)(params, widen(tiny.make_batch(padding=5), 32), jax.random.key(1))
  for name, value in metrics.items():
    np.testing.assert_allclose(padded[name], value, rtol=2e-4, err_msg=name)


def test_images_that_pad_the_batch_change_neither_loss_nor_gradient():
  config = tiny.sample_everything(tiny.tiny_config())
  batch = tiny.make_batch(2)
  filled = jax.tree.map(lambda x: jnp.concatenate([x, jnp.zeros_like(x)]), batch)
  value = value_and_gradient(config)
  loss, gradient = value(tiny_params(), batch, jax.random.key(1))
  same, same_gradient = value(tiny_params(), filled, jax.random.key(1))
  np.testing.assert_allclose(same, loss, rtol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), gradient, same_gradient)


@pytest.mark.parametrize("case", ["no instances", "all crowd", "only padding", "empty boxes"])
def test_degenerate_ground_truth_gives_finite_loss_and_gradient(case):
  batch = tiny.make_batch()
  if case == "no instances":
    batch = batch._replace(valid=jnp.zeros_like(batch.valid))
  elif case == "all crowd":
    batch = batch._replace(crowd=batch.valid)
  elif case == "only padding":
    batch = jax.tree.map(jnp.zeros_like, batch)
  else:
    batch = batch._replace(boxes=jnp.zeros_like(batch.boxes))
  loss, gradient = value_and_gradient(tiny.tiny_config())(tiny_params(), batch, jax.random.key(1))
  assert np.isfinite(loss)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
  if case == "only padding":
    assert loss == 0
    assert total_size(gradient) == 0


def test_bfloat16_moves_loss_and_gradient_a_little_and_stays_inside_the_layers():
  config = tiny.sample_everything(tiny.tiny_config())
  half = tiny.override(config, model={"compute_dtype": "bfloat16"})
  batch = tiny.make_batch(2)
  loss, gradient = value_and_gradient(config)(tiny_params(), batch, jax.random.key(1))
  close, close_gradient = value_and_gradient(half)(tiny_params(), batch, jax.random.key(1))
  assert close.dtype == jnp.float32
  assert abs(close - loss) < 0.02 * loss
  # Not the same numbers: the switch does something.
  assert close != loss
  for stage in gradient:
    full, rounded = (jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree[stage])])
                     for tree in (gradient, close_gradient))
    assert rounded.dtype == jnp.float32
    similarity = full @ rounded / (jnp.linalg.norm(full) * jnp.linalg.norm(rounded))
    # Rounding to 8 bits in a dozen layers; .976 in the stage where it is least.
    assert similarity > 0.95, stage
  _, output = jax.eval_shape(functools.partial(run_cascade, config=half), tiny_params(),
                             batch.images, batch.image_sizes)
  assert {x.dtype for x in output} == {jnp.dtype("float32"), jnp.dtype("bool")}


def test_mask_loss_gradient_in_box_deltas_matches_finite_differences():
  # The chain box deltas -> boxes -> warp -> masks -> L2, in float64.
  with jax.enable_x64(True):
    config = tiny.tiny_config(model={"compute_dtype": "float64"})
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), tiny_params())
    # The release's small mask weights would leave a gradient near rounding.
    params["mask_stage"]["mask"]["kernel"] *= 300
    batch = tiny.make_batch(1)
    ground_truth = jax.tree.map(lambda x: x[0], batch.ground_truth)
    shared = features_of(params, batch.images, batch.image_sizes, config)
    anchors = score_anchors(params, shared, batch.image_sizes[0], config=config)
    overlap = roi_targets.box_iou(anchors.anchors, ground_truth.boxes[:2]).max(axis=1)
    rows = jnp.argsort(-overlap)[:6]

    def boxes_of(deltas):
      boxes = decode_boxes(deltas, anchors.anchors[rows].astype(jnp.float64))
      return clip_boxes(boxes, 64, 64)

    start = jax.random.normal(jax.random.key(3), (6, 4), jnp.float64) * 0.05
    valid = jnp.ones(6, bool)
    targets = roi_targets.roi_targets(boxes_of(start), valid, ground_truth, config=config)
    assert targets.foreground.sum() >= 2

    @jax.jit
    def loss(deltas):
      output = mask_and_classify(params, shared, boxes_of(deltas), valid, config=config)
      return losses.mask_stage_loss(output.mask_logits, targets)

    gradient = jax.grad(loss)(start)
    assert gradient.dtype == jnp.float64
    step = 1e-6
    for row, column in np.ndindex(6, 4):
      nudge = jnp.zeros((6, 4)).at[row, column].set(step)
      numeric = (loss(start + nudge) - loss(start - nudge)) / (2 * step)
      np.testing.assert_allclose(gradient[row, column], numeric, rtol=1e-5, atol=1e-9)
    assert jnp.abs(gradient[targets.foreground]).min() > 1e-7


def test_proposals_pass_gradient_to_deltas_and_none_to_scores():
  config = tiny.tiny_config()
  batch = tiny.make_batch(1)
  shared = features_of(tiny_params(), batch.images, batch.image_sizes, config)
  output = score_anchors(tiny_params(), shared, batch.image_sizes[0], config=config)

  def box_sum(deltas, logits):
    moved = output._replace(box_deltas=deltas, objectness_logits=logits)
    return box_stage.propose_boxes(moved, batch.image_sizes[0], config=ProposalConfig(
        pre_nms=50, num_proposals=8, min_box_size=2.0)).boxes.sum()

  by_deltas, by_logits = jax.grad(box_sum, (0, 1))(output.box_deltas, output.objectness_logits)
  assert 1 <= int((jnp.abs(by_deltas).sum(1) > 0).sum()) <= 8
  assert float(jnp.abs(by_logits).sum()) == 0


def test_inference_has_twice_the_proposals_and_stays_inside_the_image():
  config, batch = tiny.tiny_config(train={"num_stages": 3}), tiny.make_batch()
  proposals, output = run_cascade(tiny_params(), batch.images, batch.image_sizes, config=config)
  np.testing.assert_array_equal(output.boxes[:, :16], proposals.boxes)
  assert output.boxes.shape == (2, 32, 4)
  assert output.mask_logits.shape == (2, 32, 12, 12)
  assert output.category_logits.shape == (2, 32, 3)
  assert float(output.boxes.min()) >= 0
  assert float(output.boxes.max()) <= 64


def test_small_backbone_reports_a_bucket_that_does_not_fit():
  config = tiny.tiny_config().model
  with pytest.raises(ValueError, match="multiples of 16 pixels, found 40 x 64"):
    features.extract_features(tiny_params()["features"], jnp.zeros((1, 40, 64, 3), jnp.uint8),
                              jnp.full((1, 2), 40), config=config)
