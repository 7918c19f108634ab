"""Blocks of a backbone joined from coarse to fine, against a slow implementation in numpy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnc_jax.config import ModelConfig
from mnc_jax.model.backbones import features
from mnc_jax.model.backbones.top_down import TopDown

CONFIG = ModelConfig(backbone="vgg16", pyramid_stride=8, pyramid_width=4, frozen_blocks=4)
RESNET = dataclasses.replace(CONFIG, backbone="resnet26", backbone_norm="group", resnet_width=8)


def draw_maps(rng, height, width, channels=(3, 6)):
  """Returns maps of strides 8 and 16 of one image, of very different scale."""
  return {8: np.float32(rng.normal(size=(1, height // 8, width // 8, channels[0])) * 100),
          16: np.float32(rng.normal(size=(1, height // 16, width // 16, channels[1])))}


def draw_params(rng, maps, sizes):
  shapes = jax.eval_shape(
      TopDown(CONFIG).init, jax.random.key(0), maps, jnp.asarray(sizes))["params"]
  return jax.tree.map(lambda leaf: np.float32(rng.normal(size=leaf.shape)), shapes)


def apply(params, maps, sizes):
  return np.asarray(TopDown(CONFIG).apply({"params": params}, maps, jnp.asarray(sizes)))


def norm(x, params):
  x = x - x.mean(axis=-1, keepdims=True)
  return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * params["scale"] + params["bias"]


def merge(x, params, stride):
  """Returns x [h, w, K] plus the rectified, normalised 3 x 3 convolution, zero-padded."""
  kernel, padded = params[f"merge{stride}"]["kernel"], np.pad(x, ((1, 1), (1, 1), (0, 0)))
  rows, columns = x.shape[:2]
  y = sum(padded[i:i + rows, j:j + columns] @ kernel[i, j] for i in range(3) for j in range(3))
  return x + np.maximum(norm(y, params[f"merge{stride}_norm"]), 0)


def oracle(params, maps):
  """Returns the joined map [h, w, K] of maps [h, w, K] that are wholly inside the image."""
  lateral = {stride: norm(x[0], params[f"lateral{stride}_norm"])
             @ params[f"lateral{stride}"]["kernel"][0, 0] + params[f"lateral{stride}"]["bias"]
             for stride, x in maps.items()}
  coarse, fine = merge(lateral[16], params, 16), lateral[8].copy()
  for i, j in np.ndindex(*coarse.shape[:2]):
    fine[2 * i:2 * i + 2, 2 * j:2 * j + 2] += coarse[i, j]
  return merge(fine, params, 8)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (56, 72)])
def test_it_adds_doubled_coarse_maps_and_smooths(height, width):
  """Of 56 x 72 pixels the last row and column of stride 8 have no cell of stride 16."""
  rng = np.random.default_rng(0)
  maps, sizes = draw_maps(rng, height, width), [[height, width]]
  params = draw_params(rng, maps, sizes)
  np.testing.assert_allclose(apply(params, maps, sizes)[0], oracle(params, maps),
                             rtol=2e-4, atol=2e-4)


def test_padding_around_an_image_changes_nothing():
  rng = np.random.default_rng(1)
  maps, sizes = draw_maps(rng, 48, 64), [[48, 64]]
  params = draw_params(rng, maps, sizes)
  alone = apply(params, maps, sizes)
  # What a backbone gives outside an image is 0.
  padded = {stride: np.pad(x, ((0, 0), (0, 64 // stride), (0, 32 // stride), (0, 0)))
            for stride, x in maps.items()}
  together = apply(params, padded, sizes)
  np.testing.assert_allclose(together[:, :6, :8], alone, rtol=1e-5, atol=1e-5)
  assert not together[:, 6:].any() and not together[:, :, 8:].any()


@pytest.mark.parametrize(("config", "frozen", "stride"), [
    (CONFIG, 4, 8), (CONFIG, 4, 4), (CONFIG, 5, 8), (RESNET, 2, 4), (RESNET, 3, 8), (RESNET, 4, 4)])
def test_no_gradient_reaches_frozen_blocks(config, frozen, stride):
  """Of a pyramid each block has a way around the last frozen one."""
  config = dataclasses.replace(config, frozen_blocks=frozen, pyramid_stride=stride)
  params = features.init_features(jax.random.key(0), config)
  image = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3)).astype(np.uint8)
  gradients = jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(features.extract_features(
      params, image, np.array([[64, 64]]), config=config)))))(params)
  frozen_names = features.frozen_layers(config)
  moved = {name for name, layer in gradients.items()
           if any(leaf.any() for leaf in jax.tree.leaves(layer))}
  assert moved and not moved & set(frozen_names)
  assert frozen_names and "top_down" in moved


@pytest.mark.parametrize(("config", "stride"), [(CONFIG, 8), (CONFIG, 4), (RESNET, 8)])
def test_a_backbone_has_the_stride_and_the_width_of_the_config(config, stride):
  config = dataclasses.replace(config, pyramid_stride=stride)
  image, sizes = np.zeros((2, 72, 96, 3), np.uint8), np.full((2, 2), 72, np.int32)
  def extract(key):
    return features.extract_features(features.init_features(key, config), image, sizes,
                                     config=config)
  assert jax.eval_shape(extract, jax.random.key(0)).shape == (2, 72 // stride, 96 // stride, 4)
  backbone = features.make_backbone(config)
  assert (backbone.stride, backbone.channels) == (stride, 4)


def test_frozen_blocks_take_no_gradient_but_the_joined_map_is_trained():
  image = np.random.default_rng(2).integers(0, 256, (1, 16, 16, 3)).astype(np.uint8)
  params = jax.jit(lambda key: features.init_features(key, CONFIG))(jax.random.key(0))
  def total(params):
    return jnp.square(
        features.extract_features(params, image, np.array([[16, 16]]), config=CONFIG)).sum()
  gradient = jax.jit(jax.grad(total))(params)
  moved = {name for name, layer in gradient.items()
           if any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(layer))}
  assert moved == {"conv5_1", "conv5_2", "conv5_3", "top_down"}


def test_partial_cells_are_rejected():
  config = dataclasses.replace(CONFIG, partial_cells=True)
  with pytest.raises(ValueError, match="without model.pyramid_stride, found 'vgg16' and 8"):
    features.extract_features({}, np.zeros((1, 16, 16, 3), np.uint8), np.array([[16, 16]]),
                              config=config)
