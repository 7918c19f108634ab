"""Backbones: stride, padding, frozen layers, channel order."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnc_jax.config import ModelConfig
from mnc_jax.model.backbones import features
from mnc_jax.ops.padding import cells_inside, count_cells

VGG = ModelConfig(backbone="vgg16")
SMALL = ModelConfig(backbone="small", backbone_widths=(8, 16, 16, 16))


@functools.cache
def parameters(backbone):
  """Random kernels that keep the scale of the activations; drawn by numpy, nothing is compiled."""
  rng, config = np.random.default_rng(0), VGG if backbone == "vgg16" else SMALL
  middle = {"bias": 0.0, "scale": 1.0, "pixel_scale": 1.0,
            "pixel_mean": np.float32(VGG.pixel_mean_bgr)}

  def fill(path, leaf):
    if leaf.ndim > 1:
      gain = np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
      return gain * rng.standard_normal(leaf.shape, np.float32)
    return np.full(leaf.shape, middle[path[-1].key], np.float32)

  shapes = jax.eval_shape(lambda: features.init_features(jax.random.key(0), config))
  return jax.tree_util.tree_map_with_path(fill, shapes)


def image(height, width, seed=0):
  return jnp.asarray(np.random.default_rng(seed).integers(0, 256, (1, height, width, 3)), jnp.uint8)


@functools.cache
def extractor(config):
  return jax.jit(functools.partial(features.extract_features, config=config))


def run(config, images, sizes, params=None):
  params = parameters(config.backbone) if params is None else params
  return extractor(config)(params, images, jnp.asarray(sizes))


def shape_of(config, images, sizes):
  return jax.eval_shape(extractor(config), parameters(config.backbone), images,
                        jnp.asarray(sizes)).shape


@pytest.mark.parametrize(("config", "shape"), [(VGG, (1, 4, 5, 512)), (SMALL, (1, 16, 20, 16))])
def test_feature_maps_have_their_stride(config, shape):
  assert shape_of(config, image(64, 80), [[64, 80]]) == shape
  backbone = features.make_backbone(config)
  assert (backbone.stride, backbone.channels) == (64 // shape[1], shape[3])


@pytest.mark.parametrize("config", [VGG, SMALL])
def test_padding_around_an_image_changes_nothing(config):
  small = image(48, 64)
  padded = jnp.pad(small, ((0, 0), (0, 32), (0, 16), (0, 0)), constant_values=200)
  alone, together = run(config, small, [[48, 64]]), run(config, padded, [[48, 64]])
  rows, columns = alone.shape[1:3]
  np.testing.assert_allclose(together[:, :rows, :columns], alone, atol=1e-4)
  assert not together[:, rows:].any()
  assert not together[:, :, columns:].any()
  assert float(jnp.abs(alone).max()) > 0.1


def test_cells_partly_inside_the_image_count_with_partial_cells():
  config = dataclasses.replace(VGG, partial_cells=True)
  odd = image(50, 70)  # 25 x 35 pixels at stride 2, then 13 x 18, 7 x 9, 4 x 5.
  padded = jnp.pad(odd, ((0, 0), (0, 30), (0, 42), (0, 0)), constant_values=200)
  alone, together = run(config, odd, [[50, 70]]), run(config, padded, [[50, 70]])
  assert alone.shape == (1, 4, 5, 512) and together.shape == (1, 5, 7, 512)
  np.testing.assert_allclose(together[:, :4, :5], alone, atol=1e-4)
  assert not together[:, 4:].any() and not together[:, :, 5:].any()
  assert alone[:, 3].any() and alone[:, :, 4].any()
  assert shape_of(VGG, odd, [[50, 70]]) == (1, 3, 4, 512)


def test_partial_cells_are_rejected_for_other_backbones():
  config = dataclasses.replace(SMALL, partial_cells=True)
  with pytest.raises(ValueError, match="partial_cells is for .* 'vgg16' without .*, found 'small'"):
    run(config, image(64, 64), [[64, 64]])


def test_frozen_blocks_take_no_gradient():
  def total(params):
    return features.extract_features(params, image(16, 16), jnp.array([[16, 16]]), config=VGG).sum()
  gradient = jax.jit(jax.grad(total))(parameters("vgg16"))
  sizes = {name: float(jnp.abs(layer["kernel"]).max()) for name, layer in gradient.items()
           if not name.startswith("pixel")}
  assert {name for name, size in sizes.items() if size == 0} == {
      "conv1_1", "conv1_2", "conv2_1", "conv2_2"}


def test_mean_and_scale_of_pixels_take_no_gradient_even_if_all_layers_do():
  config, given = ModelConfig(backbone="vgg16", frozen_blocks=0), parameters("vgg16")
  def total(some, others):
    return features.extract_features(
        some | others, image(16, 16), jnp.array([[16, 16]]), config=config).sum()
  some = {name: given[name] for name in ("conv1_1", "pixel_mean", "pixel_scale")}
  others = {name: layer for name, layer in given.items() if name not in some}
  gradient = jax.jit(jax.grad(total))(some, others)
  assert float(jnp.abs(gradient["conv1_1"]["kernel"]).max()) > 0
  assert not gradient["pixel_mean"].any()
  assert not gradient["pixel_scale"].any()


def test_vgg_multiplies_by_the_scale_of_its_weights():
  given = parameters("vgg16")
  half = given | {"pixel_scale": jnp.full(3, 0.5)}
  kernel = given["conv1_1"]["kernel"]
  same = half | {"conv1_1": given["conv1_1"] | {"kernel": 2 * kernel}}
  run_with = lambda params: run(VGG, image(16, 16), [[16, 16]], params)
  np.testing.assert_allclose(run_with(same), run_with(given), rtol=1e-4, atol=1e-4)
  assert float(jnp.abs(run_with(half) - run_with(given)).max()) > 1e-3


def test_vgg_subtracts_the_mean_of_its_weights_not_of_the_config():
  shifted = dataclasses.replace(VGG, pixel_mean_bgr=(3.0, 2.0, 1.0))
  # Compiled, the other parameters are not even drawn.
  initial = jax.jit(lambda: features.init_features(jax.random.key(0), shifted)["pixel_mean"])
  np.testing.assert_array_equal(initial(), [3, 2, 1])
  params = parameters("vgg16") | {"pixel_mean": np.float32([3.0, 2.0, 1.0])}
  run_with = lambda config, params: run(config, image(16, 16), [[16, 16]], params)
  found = run_with(VGG, params)
  np.testing.assert_array_equal(found, run_with(shifted, params))
  assert float(jnp.abs(found - run_with(VGG, parameters("vgg16"))).max()) > 1e-3


def test_vgg_reads_blue_first_minus_its_mean():
  # Weights that copy input channel c to output channel c through conv1_1.
  images = jnp.zeros((1, 16, 16, 3), jnp.uint8).at[..., 0].set(250)  # pure red
  module = features.make_backbone(VGG).module
  kernel = np.zeros((3, 3, 3, 64), np.float32)
  kernel[1, 1, :, :3] = np.eye(3)
  params = parameters("vgg16") | {"conv1_1": {"kernel": kernel, "bias": np.zeros(64, np.float32)}}

  @jax.jit
  def first_layer(params):
    _, state = module.apply(
        {"params": params}, images, jnp.array([[16, 16]]), capture_intermediates=True)
    return state["intermediates"]["conv1_1"]["__call__"][0]

  first = first_layer(params)[0, 8, 8, :3]
  np.testing.assert_allclose(first, [-102.9801, -115.9465, 250 - 122.7717], rtol=1e-5)


def test_cells_inside_counts_whole_cells():
  inside = cells_inside(jnp.array([[33, 16], [0, 0]]), 16, 3, 2)
  np.testing.assert_array_equal(inside[0], [[True, False], [True, False], [False, False]])
  assert not inside[1].any()


def test_cells_partly_inside_count_with_partial():
  sizes = jnp.array([[33, 16], [17, 1], [0, 0]])
  np.testing.assert_array_equal(count_cells(sizes, 16, partial=True), [[3, 1], [2, 1], [0, 0]])
  np.testing.assert_array_equal(count_cells(sizes, 16), [[2, 1], [1, 0], [0, 0]])
  inside = cells_inside(sizes, 16, 4, 2, partial=True)
  np.testing.assert_array_equal(inside.sum(axis=(1, 2)), [3, 2, 0])
