"""Shared convolutional features: the image is seen once, all stages read the result.

Every layer keeps the cells that are not wholly inside an image (with `partial_cells`: that are
wholly outside) at zero, as if the image had been run by itself with zero padding. So neither the
bucket nor the batch it travels in matters.
"""

import chex
import jax
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.model.backbones.hourglass import Hourglass
from mnc_jax.model.backbones.pixels import PIXEL_PARAMETERS
from mnc_jax.model.backbones.resnet import DEPTHS, EXPANSION, ResNetC4, block_names
from mnc_jax.model.backbones.vgg16 import VGG16, VGG16_BLOCKS, VGG16_LAYERS
from mnc_jax.model.flax_modules import apply_module, init_module
from mnc_jax.structs import Array


def feature_stride(config: ModelConfig) -> int:
  """Returns the pixels of the network input a feature cell of `config`'s backbone."""
  return 4 if config.backbone == "small" else 16


def feature_channels(config: ModelConfig) -> int:
  """Returns K, the channels of the features of `config`'s backbone."""
  if config.backbone in DEPTHS:
    return 4 * EXPANSION * config.resnet_width
  return config.backbone_widths[1] if config.backbone == "small" else VGG16_LAYERS[-1].outputs


def coarsest_stride(config: ModelConfig) -> int:
  """Returns the pixels that sides of padded images are to be multiples of, by `config`."""
  return 2 ** len(config.backbone_widths) if config.backbone == "small" else 16


def frozen_layers(config: ModelConfig) -> tuple[str, ...]:
  """Returns the names inside `features` of what stays as it is loaded.

  These are the layers of `config.frozen_blocks`, and mean and scale of the pixels. Frozen batch
  normalisations, which are all over the model, are `resnet.FROZEN_NORMS`.
  """
  return (*PIXEL_PARAMETERS, *(name for block in _blocks(config)[:config.frozen_blocks]
                               for name in block))


def _blocks(config):
  """Returns the names of the layers of each block of a backbone that may be pretrained."""
  if config.backbone in DEPTHS:
    return block_names(config)
  if config.backbone == "vgg16":
    return tuple(tuple(layer.name for layer in layers) for layers in VGG16_BLOCKS)
  return ()


def _backbone(config):
  if config.backbone in DEPTHS:
    return ResNetC4(config)
  return VGG16(config) if config.backbone == "vgg16" else Hourglass(config)


def init_features(key: jax.Array, config: ModelConfig) -> dict:
  """Returns parameters of the backbone of `config`, drawn with `key`."""
  images = jnp.zeros((1, 32, 32, 3), jnp.uint8)
  sizes = jnp.full((1, 2), 32, jnp.int32)
  return init_module(_backbone(config), key, images, sizes)


def extract_features(params: dict, images: Array, image_sizes: Array, *,
                     config: ModelConfig) -> Array:
  """Computes the shared features of a batch (paper, section 3).

  Args:
    params: from `init_features`.
    images: [B, H, W, 3] RGB from 0 to 255, uint8 or float32, zero outside each image.
    image_sizes: [B, 2] int32 (height, width).
    config: the model.

  Returns:
    [B, h, w, K] in `config.compute_dtype`, zero in cells that are not wholly inside the
    image, with `config.partial_cells` in those wholly outside. An image of size (0, 0) gives
    zeros.

  Raises:
    ValueError: if the padded size, or `config.partial_cells`, does not fit the backbone.
  """
  chex.assert_rank([images, image_sizes], [4, 2])
  height, width = images.shape[1:3]
  coarsest = coarsest_stride(config)
  if config.backbone == "small" and (height % coarsest or width % coarsest):
    raise ValueError(
        f"the small backbone needs image buckets in multiples of {coarsest} pixels, found "
        f"{height} x {width}: change data.buckets")
  if config.partial_cells and config.backbone != "vgg16":
    raise ValueError(
        f"model.partial_cells is for model.backbone 'vgg16', found {config.backbone!r}")
  return apply_module(_backbone(config), params, images, image_sizes)
