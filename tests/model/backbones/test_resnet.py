"""ResNets: shapes, padding, both normalisations, what is frozen, the head of each RoI."""

import functools

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
from mnc_jax.model.backbones import features, resnet
from mnc_jax.model.parameters import init_params
from mnc_jax.model.stages import category_stage
from mnc_jax.training.optimizer import parameter_groups

NORMS = ("frozen_batch", "group")
# torchvision's counts of parameters, less the classifier's 2048 * 1000 + 1000.
SIZES = {"resnet50": 25_557_032 - 2_049_000, "resnet101": 44_549_160 - 2_049_000}


def config_of(norm, **fields):
  return tiny.tiny_config(model={
      "backbone": "resnet26", "resnet_width": 8, "backbone_norm": norm, "frozen_blocks": 0,
      "pixel_mean_bgr": (10.0, 20.0, 30.0)} | fields)


@functools.cache
def parameters(norm):
  """Random everywhere, so that no scale of zero hides what is behind it."""
  rng = np.random.default_rng(0)

  def fill(path, leaf):
    if leaf.ndim > 1:
      gain = np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
      return gain * rng.standard_normal(leaf.shape, dtype=np.float32)
    middle = {"scale": 0.8, "bias": 0.0, "pixel_mean": 120.0, "pixel_scale": 0.4}[path[-1].key]
    return rng.uniform(middle - 0.3, middle + 0.3, leaf.shape).astype(np.float32)

  shapes = jax.eval_shape(lambda: init_params(jax.random.key(0), config_of(norm)))
  return jax.tree_util.tree_map_with_path(fill, shapes)


def image(height, width):
  return jnp.asarray(np.random.default_rng(1).integers(0, 256, (1, height, width, 3)), jnp.uint8)


@functools.cache
def extractor(norm, dtype):
  model = config_of(norm, compute_dtype=dtype).model
  return jax.jit(functools.partial(features.extract_features, config=model))


def run(norm, images, sizes, *, dtype="float32"):
  return extractor(norm, dtype)(parameters(norm)["features"], images, jnp.asarray(sizes))


def output_of(layer, params, images, sizes, norm):
  """Returns what one layer of the backbone gives; the others are not even compiled."""
  def apply(params, images, sizes):
    _, state = resnet.ResNetC4(config_of(norm).model).apply(
        {"params": params}, images, sizes, capture_intermediates=True)
    return state["intermediates"][layer]["__call__"][0]
  return jax.jit(apply)(parameters(norm)["features"] | params, images, jnp.asarray(sizes))


def flatten(tree):
  return traverse_util.flatten_dict(tree, sep="/")


def test_feature_maps_have_their_stride_and_channels():
  model = config_of("frozen_batch").model
  backbone = features.make_backbone(model)
  assert (backbone.stride, backbone.channels) == (16, 128)
  params = parameters("frozen_batch")["features"]
  shape = lambda height, width: jax.eval_shape(lambda: features.extract_features(
      params, image(height, width), jnp.array([[height, width]]), config=model)).shape
  assert shape(64, 80) == (1, 4, 5, 128)
  # 50 / 16 is 3.1: torchvision has four rows, of which the last is not wholly inside.
  assert shape(50, 64) == (1, 3, 4, 128)


@pytest.mark.parametrize("backbone", list(SIZES))
def test_full_size_has_the_published_number_of_parameters(backbone):
  config = tiny.tiny_config(model={"backbone": backbone, "resnet_width": 64, "roi_size": 14})
  shapes = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
  count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
  heads = shapes["category_stage"]
  assert count(shapes["features"]) - 6 + count(heads["conv5"]) == SIZES[backbone]
  assert count(heads["conv5"]) == count(heads["conv5_mask"])
  assert heads["category"]["kernel"].shape == (2 * 2048, tiny.NUM_CATEGORIES)


@pytest.mark.parametrize("norm", NORMS)
def test_padding_around_an_image_changes_nothing(norm):
  # 70 is no multiple of 4; the last of 48 rows is read by cells inside at every level.
  small = image(48, 70)
  padded = jnp.pad(small, ((0, 1), (0, 48), (0, 26), (0, 0)), constant_values=200)
  alone = run(norm, small, [[48, 70]])
  together, no_image = jnp.split(run(norm, padded, [[48, 70], [0, 0]]), 2)
  assert not no_image.any()
  rows, columns = alone.shape[1:3]
  np.testing.assert_allclose(
      together[:, :rows, :columns], alone, atol=2e-5 * float(jnp.abs(alone).max()))
  assert not together[:, rows:].any()
  assert not together[:, :, columns:].any()
  assert float(jnp.abs(alone).max()) > 0.1


@pytest.mark.parametrize(("norm", "scale"), [("frozen_batch", 1.0), ("group", 1 / 64)])
def test_first_layer_sees_blue_first_minus_the_mean_of_the_parameters(norm, scale):
  # A kernel that copies input channel c to output channel c.
  kernel = jnp.zeros((7, 7, 3, 8)).at[3, 3, :, :3].set(jnp.eye(3))
  params = {"conv1": {"kernel": kernel}, "pixel_mean": jnp.array([10.0, 20.0, 30.0]),
            "pixel_scale": jnp.array([1.0, 2.0, 3.0])}
  images = jnp.zeros((1, 32, 32, 3), jnp.uint8).at[..., 0].set(250)  # pure red
  first = output_of("conv1", params, images, [[32, 32]], norm)[0, 8, 8, :3]
  np.testing.assert_allclose(first, [-10, -20 * 2, (250 - 30) * 3], rtol=1e-6)
  # Compiled, the other parameters are not even drawn.
  initial = jax.jit(lambda: features.init_features(
      jax.random.key(0), config_of(norm).model)["pixel_scale"])
  np.testing.assert_allclose(initial(), np.full(3, scale))


def test_frozen_batch_norm_scales_and_adds_without_a_gradient():
  params = {"scale": jnp.array([2.0, 3.0]), "bias": jnp.array([0.5, -1.0])}
  apply = lambda params, x: resnet.FrozenBatchNorm().apply({"params": params}, x)
  x = jnp.array([[1.0, 1.0], [4.0, 0.0]])
  np.testing.assert_array_equal(apply(params, x), [[2.5, 2.0], [8.5, -1.0]])
  of_params, of_x = jax.grad(lambda *a: apply(*a).sum(), argnums=(0, 1))(params, x)
  assert not any(leaf.any() for leaf in jax.tree.leaves(of_params))
  np.testing.assert_array_equal(of_x, [[2.0, 3.0]] * 2)


def test_group_norm_takes_its_statistics_from_the_cells_inside_each_image():
  images = jnp.concatenate([image(64, 64), 255 - image(64, 64)])
  plain = {"gn1": {"scale": jnp.ones(8), "bias": jnp.zeros(8)}}
  normed = np.asarray(output_of("gn1", plain, images, [[64, 64], [36, 20]], "group"))
  for values in (normed[0], normed[1, :18, :10]):
    np.testing.assert_allclose((values.mean(), values.std()), (0, 1), atol=1e-4)


@pytest.mark.parametrize(("channels", "groups"), [
    (64, 32), (2048, 32), (8, 1), (16, 1), (32, 2), (24, 3), (80, 5), (7, 7)])
def test_groups_divide_the_channels(channels, groups):
  assert resnet.count_groups(channels) == groups


@functools.cache
def gradients(norm, frozen_blocks):
  """Gradient of all outputs of backbone and stage 3 in all their parameters, by path.

  The second image only fills up the batch: a mean over none of its cells would be NaN.
  """
  model = config_of(norm, frozen_blocks=frozen_blocks).model

  def total(params):
    shared = features.extract_features(
        params["features"], jnp.tile(image(64, 64), (2, 1, 1, 1)), jnp.array([[64, 64], [0, 0]]),
        config=model)
    rois = jnp.tile(shared, (1, 2, 2, 1)) / 10
    outputs = category_stage.predict_categories(
        params["category_stage"], rois, jnp.ones((2, 12, 12)), config=model)
    return sum(jnp.sin(x).sum() for x in outputs)

  params = parameters(norm)
  return flatten(jax.jit(jax.grad(total))(
      {name: params[name] for name in ("features", "category_stage")}))


@pytest.mark.parametrize(("norm", "frozen_blocks"), [
    ("frozen_batch", 2), ("frozen_batch", 4), ("group", 0)])
def test_gradient_reaches_what_is_trained_and_nothing_frozen(norm, frozen_blocks):
  config = config_of(norm, frozen_blocks=frozen_blocks)
  groups = flatten(parameter_groups(parameters(norm), config))
  moved = {path for path, leaf in gradients(norm, frozen_blocks).items() if leaf.any()}
  assert all(np.isfinite(leaf).all() for leaf in gradients(norm, frozen_blocks).values())
  assert moved == {path for path, group in groups.items() if group != "frozen"
                   and path.split("/")[0] in ("features", "category_stage")}


def test_frozen_group_by_name():
  config = config_of("frozen_batch", frozen_blocks=2, mask_head="conv", mask_size=16)
  params = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
  groups = flatten(parameter_groups(params, config))
  frozen = {path for path, group in groups.items() if group == "frozen"}
  kernels = {path.removesuffix("/kernel") for path in frozen if path.endswith("kernel")}
  layers = ("conv1", "conv2", "conv3")
  assert kernels == {"features/conv1", "features/layer1_0/conv_down"} | {
      f"features/layer1_{index}/{layer}" for index in (0, 1) for layer in layers}
  assert {"features/pixel_mean", "features/pixel_scale"} <= frozen
  assert {path for path in groups if "/bn" in path} <= frozen
  assert "category_stage/conv5_mask/layer4_1/bn3/scale" in frozen
  # Stage 2 has a conv1 of its own, and it is trained.
  assert groups["mask_stage/conv1/kernel"] == "weights"
  assert groups["mask_stage/conv1_norm/scale"] == "scales"


@functools.cache
def head(norm):
  return jax.jit(functools.partial(
      category_stage.predict_categories, config=config_of(norm).model))


@pytest.mark.parametrize("norm", NORMS)
def test_rows_of_the_head_are_independent(norm):
  params, rng = parameters(norm)["category_stage"], np.random.default_rng(2)
  predict = head(norm)
  rois = rng.uniform(0, 1, (3, 8, 8, 128)).astype(np.float32)
  masks = rng.standard_normal((3, 12, 12)).astype(np.float32)
  before = predict(params, rois, masks)
  # Copies: JAX may read the memory of the first later.
  rois, masks = rois.copy(), masks.copy()
  rois[1], masks[1] = 50 * rois[1], -3
  after = predict(params, rois, masks)
  for one, other in zip(before, after, strict=True):
    np.testing.assert_array_equal(one[::2], other[::2])
    assert (one[1] != other[1]).any()


def test_mask_path_and_box_path_have_weights_of_their_own():
  params = parameters("frozen_batch")["category_stage"]
  first = lambda name: params[name]["layer4_0"]["conv2"]["kernel"]
  assert (first("conv5") != first("conv5_mask")).any()
  # The first half of what the classifiers see comes from the mask path.
  only_mask = {"kernel": jnp.eye(512, 3), "bias": jnp.zeros(3)}
  predict = head("frozen_batch")
  rois, masks = np.ones((3, 8, 8, 128), np.float32), np.zeros((3, 12, 12), np.float32)
  whole = params | {"category": only_mask}
  silent = jax.tree.map(jnp.zeros_like, params["conv5"])
  assert predict(whole, rois, masks)[0].any()
  np.testing.assert_array_equal(predict(whole, rois, masks)[0],
                                predict(whole | {"conv5": silent}, rois, masks)[0])
  assert not predict(whole | {"conv5_mask": silent}, rois, masks)[0].any()


@pytest.mark.parametrize("norm", NORMS)
def test_bfloat16_stays_near_float32(norm):
  exact = run(norm, image(48, 70), [[48, 70]])
  rounded = run(norm, image(48, 70), [[48, 70]], dtype="bfloat16")
  assert rounded.dtype == jnp.bfloat16
  error = float(jnp.abs(rounded.astype(jnp.float32) - exact).mean() / jnp.abs(exact).mean())
  assert 1e-4 < error < 0.05


def test_frozen_batch_normalisation_rounds_its_output_alone():
  """Means of five standard deviations: of x * scale and bias, five times the output, none is."""
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(5.0, 1.0, (1, 16, 16, 64)), jnp.bfloat16)
  scale = rng.uniform(0.5, 2.0, 64).astype(np.float32)
  params = {"scale": scale, "bias": -5.0 * scale}
  found = resnet.FrozenBatchNorm().apply({"params": params}, x)
  assert found.dtype == jnp.bfloat16
  exact = (np.asarray(x, np.float64) - 5.0) * scale
  error = np.asarray(found, np.float64) - exact
  assert np.sqrt(np.square(error).mean() / np.square(exact).mean()) < 2**-8 / np.sqrt(3)
  assert np.abs(error.mean(axis=(0, 1, 2)) / scale).max() < 1e-3
