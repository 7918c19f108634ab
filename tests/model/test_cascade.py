"""Whole-model tests: the properties that make it a cascade."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
from mnc_jax.config import ProposalConfig
from mnc_jax.model import losses, roi_targets
from mnc_jax.model.backbones import features
from mnc_jax.model.cascade import cascade_loss, run_cascade
from mnc_jax.model.forward import mask_and_classify, score_anchors
from mnc_jax.model.parameters import init_params
from mnc_jax.model.stages import box_stage
from mnc_jax.ops.boxes import clip_boxes, decode_boxes
from mnc_jax.structs import StageFeatures

# All candidates are sampled: RoIs from all proposals and the ground truth, and anchors that touch
# no object or match one. The others are left to `force_roi_anchors`.
BASE = tiny.override(tiny.sample_everything(tiny.tiny_config()), train={
    "proposals": {"num_proposals": 12}, "rois_per_image": 16, "anchor_negative_iou": 0.01})
# The gradient of later losses in a box delta of one image.
LIMIT = 1e-7
CLIPPED = tiny.override(BASE, model={"box_gradient_clip": LIMIT}, train={"gt_in_stage_4": True})
UNSHARED = tiny.override(BASE, model={"share_features": False, "box_gradient": False})
TERMS = ("loss_1", "loss_2", "loss_3", "loss_4", "loss_5")
COUNTS = ("proposals_per_image", "truncated_proposals_per_image")
STAGE_WEIGHTS = ("weight_box", "weight_mask", "weight_category")


@functools.cache
def tiny_params():
  return jax.jit(lambda: init_params(jax.random.key(0), tiny.tiny_config()))()


@functools.cache
def loss_fn(config):
  """The compiled metrics."""
  find = jax.jit(lambda params, batch: cascade_loss(
      params, batch, jax.random.key(1), config=config)[1])
  return lambda params, batch: jax.device_get(find(params, batch))


@functools.cache
def gradient_fn(config):
  """The metrics and the gradient of a term, compiled once for all terms and weights of stages."""
  def weighted(params, batch, of_term, stage_weights):
    weights = dict(zip(STAGE_WEIGHTS, stage_weights, strict=True))
    _, metrics = cascade_loss(
        params, batch, jax.random.key(1), config=tiny.override(config, train=weights))
    return sum(of_term[name] * metrics[name] for name in of_term), metrics

  compiled = jax.jit(jax.value_and_grad(weighted, has_aux=True))

  def find(params, batch, term="loss", stage_weights=(1.0, 1.0, 1.0)):
    of_term = {name: np.float32(name == term) for name in ("loss", *TERMS)}
    (_, metrics), gradient = compiled(params, batch, of_term, np.float32(stage_weights))
    return jax.device_get((metrics, gradient))
  return find


@functools.cache
def gradients(config):
  """Gradient of the loss of each stage on the same two images: {term: tree}."""
  params = unshared_params() if config is UNSHARED else tiny_params()
  return {term: gradient_fn(config)(params, tiny.make_batch(), term)[1] for term in TERMS}


@functools.cache
def metrics_of(config):
  """The metrics on the same two images."""
  return gradient_fn(config)(tiny_params(), tiny.make_batch())[0]


@functools.cache
def unshared_params():
  """Those of `tiny_params`, with a backbone for each stage."""
  names = ("features", "mask_features", "category_features")
  find = jax.jit(lambda: [init_params(jax.random.key(0), UNSHARED)[name] for name in names])
  return tiny_params() | dict(zip(names, find()))


def total_size(tree):
  return sum(float(np.abs(x).sum()) for x in jax.tree.leaves(tree))


def test_parameters_have_the_four_stages_at_top():
  assert set(tiny_params()) == {"features", "box_stage", "mask_stage", "category_stage"}
  assert {x.dtype for x in jax.tree.leaves(tiny_params())} == {jnp.dtype("float32")}


def test_missing_category_count_is_reported_with_the_fix():
  config = tiny.tiny_config(model={"num_categories": 0})
  with pytest.raises(ValueError, match="num_categories.*found 0.*with_categories"):
    init_params(jax.random.key(0), config)


def test_loss_is_the_sum_of_its_stages():
  metrics = metrics_of(BASE)
  assert set(metrics) == {"loss", *TERMS, *COUNTS}
  np.testing.assert_allclose(metrics["loss"], sum(metrics[term] for term in TERMS), rtol=1e-6)
  # An untrained mask is .5 everywhere, an untrained objectness too.
  np.testing.assert_allclose(metrics["loss_2"], np.log(2), atol=0.05)


def test_proposals_are_counted():
  """One box enters NMS and leaves it; all others are beyond `pre_nms`."""
  proposals = dataclasses.replace(BASE.train.proposals, pre_nms=1)
  config = tiny.override(BASE, train={"num_stages": 3, "proposals": proposals})
  metrics = loss_fn(config)(tiny_params(), tiny.make_batch())
  assert metrics["proposals_per_image"] == 1
  assert metrics["truncated_proposals_per_image"] > 100


@functools.cache
def three_stages_with_forced_anchors():
  config = tiny.override(BASE, train={"num_stages": 3, "force_roi_anchors": True})
  return loss_fn(config)(tiny_params(), tiny.make_batch())


def test_three_stages_leave_the_last_two_out():
  metrics = three_stages_with_forced_anchors()
  assert set(metrics) == {"loss", "loss_1", "loss_2", "loss_3", *COUNTS}
  np.testing.assert_allclose(
      metrics["loss"], metrics["loss_1"] + metrics["loss_2"] + metrics["loss_3"], rtol=1e-6)


def test_ground_truth_boxes_join_stages_4_and_5_alone():
  # The clipped gradient does not show in the losses.
  without, joined = metrics_of(BASE), metrics_of(CLIPPED)
  for term in ("loss_1", "loss_2", "loss_3"):
    np.testing.assert_allclose(joined[term], without[term], rtol=1e-6)
  # Untrained masks are nearly the same everywhere.
  for term, least in (("loss_4", 1e-5), ("loss_5", 1e-3)):
    assert abs(float(joined[term] - without[term])) > least


def test_forced_anchors_change_the_first_loss_alone():
  without, forced = metrics_of(BASE), three_stages_with_forced_anchors()
  assert abs(float(forced["loss_1"] - without["loss_1"])) > 1e-4
  for term in ("loss_2", "loss_3"):
    np.testing.assert_allclose(forced[term], without[term], rtol=1e-6)


@functools.cache
def run_tiny(**inference):
  """Compiled inference, which has all stages even if training has three."""
  config = tiny.tiny_config(train={"num_stages": 3}, inference=inference)
  return jax.jit(functools.partial(run_cascade, config=config))


# The release's reading of refined RoIs.
RELEASE = {"release_bridge": True, "refined_roi_pool": 1}


def favour(background):
  """Parameters by which the background always wins, or never; its deltas move boxes down."""
  params = jax.tree.map(np.array, tiny_params())
  params["category_stage"]["category"]["bias"][0] = 50.0 if background else -50.0
  params["category_stage"]["box_deltas"]["bias"][:4] = [0.0, 5, 0, 0]
  return params


def test_release_bridge_changes_the_refined_boxes_where_background_wins():
  batch = tiny.make_batch()
  ours, release = (
      run(favour(background=True), batch.images, batch.image_sizes)[1].boxes[0]
      for run in (run_tiny(), run_tiny(**RELEASE)))
  half = ours.shape[0] // 2
  np.testing.assert_allclose(ours[:half], release[:half], atol=1e-4)
  assert float(jnp.abs(ours[half:] - release[half:]).max()) > 1


def test_samples_of_refined_rois_change_stages_4_and_5_alone():
  batch, params = tiny.make_batch(), favour(background=False)
  pooled, once = (run(params, batch.images, batch.image_sizes)[1]
                  for run in (run_tiny(), run_tiny(**RELEASE)))
  np.testing.assert_array_equal(pooled.boxes, once.boxes)
  moved = jnp.abs(pooled.mask_logits - once.mask_logits).max(axis=(0, 2, 3))
  assert not moved[:16].any() and moved[16:].max() > 1e-4


def noise_features(dtype=np.float32):
  """Features of one image of 64 x 64 pixels in which no two cells are alike."""
  cells = np.random.default_rng(5).uniform(-1, 2, (16, 16, 16)).astype(dtype)
  return StageFeatures(*[cells] * 3)


def test_rois_with_inclusive_corners_are_warped_by_their_corner_pixels():
  ours = tiny.tiny_config()
  release = tiny.override(ours, model={"inclusive_corners": True})
  run_ours, run_release = (
      jax.jit(functools.partial(mask_and_classify, config=config)) for config in (ours, release))
  boxes, corners = np.float32([[4.0, 6, 31, 41]]), np.float32([[4.0, 6, 30, 40]])
  arguments = tiny_params(), noise_features()
  found = run_release(*arguments, boxes, np.ones(1, bool))
  expected = run_ours(*arguments, corners, np.ones(1, bool))
  np.testing.assert_array_equal(found.boxes, boxes)
  np.testing.assert_allclose(found.mask_logits, expected.mask_logits, atol=1e-6)
  without = run_ours(*arguments, boxes, np.ones(1, bool))
  assert jnp.abs(found.mask_logits - without.mask_logits).max() > 1e-4


def test_stage_weights_scale_their_losses():
  one = metrics_of(BASE)
  other, _ = gradient_fn(BASE)(
      tiny_params(), tiny.make_batch(), stage_weights=(3.0, 2.0, 0.5))
  for name, weight in zip(TERMS, (3.0, 2.0, 0.5, 2.0, 0.5)):
    np.testing.assert_allclose(other[name], weight * one[name], rtol=1e-5)


def zero_box_deltas(params):
  """A stage 3 that moves no box."""
  stage = dict(params["category_stage"])
  stage["box_deltas"] = jax.tree.map(jnp.zeros_like, stage["box_deltas"])
  return params | {"category_stage": stage}


def test_stages_4_and_5_equal_2_and_3_on_equal_boxes():
  metrics, _ = gradient_fn(BASE)(zero_box_deltas(tiny_params()), tiny.make_batch())
  np.testing.assert_allclose(metrics["loss_4"], metrics["loss_2"], rtol=1e-5)
  np.testing.assert_allclose(metrics["loss_5"], metrics["loss_3"], rtol=1e-5)


@pytest.mark.parametrize("term", ["loss_2", "loss_3", "loss_4", "loss_5"])
def test_later_losses_move_the_box_stage_through_the_coordinates(term):
  # The point of the paper, in one assertion.
  gradient = gradients(BASE)[term]
  assert total_size(gradient["box_stage"]["box_deltas"]) > 1e-6
  # The choice of boxes passes no gradient, so the objectness gets none.
  assert total_size(gradient["box_stage"]["objectness"]) == 0


def test_category_loss_moves_the_mask_stage():
  gradient = gradients(BASE)["loss_3"]
  assert total_size(gradient["mask_stage"]) > 1e-6


@pytest.mark.parametrize("term", ["loss_3", "loss_5"])
def test_box_gradient_off_cuts_the_box_stage_off(term):
  gradient = gradients(UNSHARED)[term]
  assert total_size(gradient["box_stage"]) == 0
  assert total_size(gradient["mask_stage"]) > 1e-6


def test_box_gradient_clip_bounds_the_gradient_of_later_losses_in_box_deltas():
  free, held = gradients(BASE), gradients(CLIPPED)
  # A bias collects the deltas of at most 16 RoIs an image; the loss is the mean of two images.
  most = 16 * LIMIT * 1.001
  for term, stage in (("loss_3", "box_stage"), ("loss_4", "box_stage"),
                      ("loss_4", "category_stage")):
    loose, tight = (np.abs(tree[term][stage]["box_deltas"]["bias"]).max() for tree in (free, held))
    assert most < loose, (term, stage)
    assert 0 < tight <= most, (term, stage)
  # Neither stage 1's own loss nor the later stages' weights change.
  for term, stage in (("loss_1", "box_stage"), ("loss_3", "category_stage")):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
                 held[term][stage], free[term][stage])


def test_unshared_features_take_gradient_from_their_own_stage_alone():
  params = unshared_params()
  names = set(jax.eval_shape(lambda: init_params(jax.random.key(0), UNSHARED)))
  assert names == set(params)
  assert names - set(tiny_params()) == {"mask_features", "category_features"}
  first, other = (jax.tree.leaves(params[name]) for name in ("features", "mask_features"))
  assert any((a != b).any() for a, b in zip(first, other))
  moved = {term: {name for name in params if "features" in name and total_size(tree[name]) > 1e-6}
           for term, tree in gradients(UNSHARED).items()}
  # The category loss reaches the mask's backbone through the masks.
  assert moved["loss_1"] == {"features"}
  assert moved["loss_2"] == moved["loss_4"] == {"mask_features"}
  assert moved["loss_3"] == moved["loss_5"] == {"mask_features", "category_features"}


def test_shared_features_take_gradient_from_every_stage():
  for term, gradient in gradients(BASE).items():
    assert total_size(gradient["features"]) > 1e-6, term


def widen(batch, extra):
  """Pads the images of a batch further right and below."""
  return batch._replace(images=jnp.pad(batch.images, ((0, 0), (0, extra), (0, 2 * extra), (0, 0))))


def test_larger_buckets_and_more_empty_instances_change_nothing():
  padded = loss_fn(BASE)(tiny_params(), widen(tiny.make_batch(padding=5), 32))
  for name, value in metrics_of(BASE).items():
    np.testing.assert_allclose(padded[name], value, rtol=2e-4, err_msg=name)


def test_larger_buckets_change_nothing_with_the_grid_and_the_corners_of_the_release():
  # More RoIs than are warped at a time.
  config = tiny.sample_everything(tiny.tiny_config(
      model={"roi_grid": "caffe", "inclusive_corners": True}, train={"num_stages": 3}))
  metrics, padded = (loss_fn(config)(tiny_params(), batch) for batch in (
      tiny.make_batch(), widen(tiny.make_batch(padding=5), 32)))
  for name, value in metrics.items():
    np.testing.assert_allclose(padded[name], value, rtol=2e-4, err_msg=name)


def test_images_that_pad_the_batch_change_neither_loss_nor_gradient():
  # Once twice the same image, whose mean it is; once the image and padding.
  image = jax.device_get(tiny.make_batch(1))
  twice, filled = (jax.tree.map(lambda *rows: np.concatenate(rows), image, other)
                   for other in (image, jax.tree.map(np.zeros_like, image)))
  metrics, gradient = gradient_fn(BASE)(tiny_params(), twice)
  same, same_gradient = gradient_fn(BASE)(tiny_params(), filled)
  assert metrics["loss"] > 1
  for name, value in metrics.items():
    np.testing.assert_allclose(same[name], value, rtol=1e-5, err_msg=name)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), gradient, same_gradient)
  alone, gradient_alone = gradient_fn(BASE)(tiny_params(), image)
  for name, value in metrics.items():
    np.testing.assert_allclose(alone[name], value, rtol=1e-5, err_msg=name)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), gradient, gradient_alone)


@pytest.mark.parametrize("count", [1, 2])
def test_one_image_alone_has_no_axis_of_images(count):
  batch, config = tiny.make_batch(count), BASE.model
  program = jax.make_jaxpr(lambda: run_cascade(
      tiny_params(), batch.images, batch.image_sizes, config=BASE))()
  mask_logits = (BASE.inference.proposals.num_proposals, config.mask_size, config.mask_size)
  of_all_images = ",".join(map(str, (count, *mask_logits)))
  assert (f"[{of_all_images}]" in str(program)) == (count > 1)


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
  metrics, gradient = gradient_fn(BASE)(tiny_params(), batch)
  assert np.isfinite(metrics["loss"])
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
  if case == "only padding":
    assert metrics["loss"] == 0
    assert total_size(gradient) == 0


def test_a_batch_may_have_no_room_for_instances():
  batch = tiny.make_batch()
  empty = batch._replace(valid=jnp.zeros_like(batch.valid))
  none = batch._replace(**{name: getattr(batch, name)[:, :0] for name in (
      "boxes", "labels", "masks", "areas", "crowd", "valid")})
  expected, found = (loss_fn(BASE)(tiny_params(), one) for one in (empty, none))
  for term in TERMS:
    np.testing.assert_allclose(found[term], expected[term], rtol=1e-5)
  assert found["loss_1"] > 0


def test_bfloat16_moves_loss_and_gradient_a_little_and_stays_inside_the_layers():
  half = tiny.override(BASE, model={"compute_dtype": "bfloat16"})
  batch = tiny.make_batch()
  (loss, gradient), (close, close_gradient) = (
      (metrics["loss"], gradient) for metrics, gradient in (
          gradient_fn(config)(tiny_params(), batch) for config in (BASE, half)))
  assert close.dtype == jnp.float32
  assert abs(close - loss) < 0.02 * loss
  # Not the same numbers: the switch does something.
  assert close != loss
  for stage in gradient:
    full, rounded = (np.concatenate([x.ravel() for x in jax.tree.leaves(tree[stage])])
                     for tree in (gradient, close_gradient))
    assert rounded.dtype == jnp.float32
    similarity = full @ rounded / (np.linalg.norm(full) * np.linalg.norm(rounded))
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
    ground_truth = jax.tree.map(lambda x: x[0], tiny.make_batch(1).ground_truth)
    shared = noise_features(np.float64)
    # Around the two objects, and partly outside the image.
    shifts = np.array([[0, 0, 0, 0], [2, -3, -1, 4], [-4, 3, 2, -2]])
    anchors = (np.asarray(ground_truth.boxes, np.float64)[:2, None] + shifts).reshape(6, 4)
    boxes_of = lambda deltas: clip_boxes(decode_boxes(deltas, anchors), 64, 64)
    start = np.random.default_rng(4).normal(0, 0.05, (6, 4))
    valid = np.ones(6, bool)
    targets = jax.jit(functools.partial(roi_targets.roi_targets, config=config))(
        boxes_of(start), valid, ground_truth)
    assert targets.foreground.sum() >= 2

    @jax.jit
    @jax.value_and_grad
    def loss(deltas):
      output = mask_and_classify(params, shared, boxes_of(deltas), valid, config=config)
      return losses.mask_stage_loss(output.mask_logits, targets)

    _, gradient = loss(start)
    assert gradient.dtype == jnp.float64
    step = 1e-6
    for row, column in np.ndindex(6, 4):
      nudge = np.zeros((6, 4))
      nudge[row, column] = step
      numeric = (loss(start + nudge)[0] - loss(start - nudge)[0]) / (2 * step)
      np.testing.assert_allclose(gradient[row, column], numeric, rtol=1e-5, atol=1e-9)
    assert jnp.abs(gradient[targets.foreground]).min() > 1e-7


def test_proposals_pass_gradient_to_deltas_and_none_to_scores():
  output = jax.jit(functools.partial(score_anchors, config=tiny.tiny_config()))(
      tiny_params(), noise_features(), np.array([64, 64]))

  @jax.jit
  @functools.partial(jax.grad, argnums=(0, 1))
  def of_box_sum(deltas, logits):
    moved = output._replace(box_deltas=deltas, objectness_logits=logits)
    return box_stage.propose_boxes(moved, np.array([64, 64]), config=ProposalConfig(
        pre_nms=50, num_proposals=8, min_box_size=2.0)).boxes.sum()

  by_deltas, by_logits = of_box_sum(output.box_deltas, output.objectness_logits)
  assert 1 <= int((jnp.abs(by_deltas).sum(1) > 0).sum()) <= 8
  assert float(jnp.abs(by_logits).sum()) == 0


def test_inference_has_twice_the_proposals_and_stays_inside_the_image():
  batch = tiny.make_batch()
  proposals, output = run_tiny()(tiny_params(), batch.images, batch.image_sizes)
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
