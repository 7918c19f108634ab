"""The features of a batch, by the backbone that the config chooses.

Every layer keeps the cells that are not wholly inside an image (with `partial_cells`: that are
wholly outside) at zero, as if the image had been run by itself with zero padding. So the features
depend neither on the bucket nor on the other images of the batch.
"""

import chex
import jax
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.model.backbones.backbone import Backbone
from mnc_jax.model.backbones.hourglass import make_hourglass
from mnc_jax.model.backbones.pixels import PIXEL_PARAMETERS
from mnc_jax.model.backbones.resnet import DEPTHS, make_resnet
from mnc_jax.model.backbones.vgg16 import make_vgg16
from mnc_jax.model.flax_modules import apply_module, init_module
from mnc_jax.structs import Array

# By `ModelConfig.backbone`.
_MAKERS = {"vgg16": make_vgg16, "small": make_hourglass, **dict.fromkeys(DEPTHS, make_resnet)}


def make_backbone(config: ModelConfig) -> Backbone:
  """Returns the backbone of `config`."""
  return _MAKERS[config.backbone](config)


def frozen_layers(config: ModelConfig) -> tuple[str, ...]:
  """Returns the names of the layers in `features` that are never trained.

  These are the layers of `config.frozen_blocks`, and mean and scale of the pixels. Frozen batch
  normalisations, which also occur elsewhere in the model, are `resnet.FROZEN_NORMS`.
  """
  blocks = make_backbone(config).blocks[:config.frozen_blocks]
  return (*PIXEL_PARAMETERS, *(name for block in blocks for name in block))


def init_features(key: jax.Array, config: ModelConfig) -> dict:
  """Returns fresh parameters of the backbone of `config`."""
  images = jnp.zeros((1, 32, 32, 3), jnp.uint8)
  sizes = jnp.full((1, 2), 32, jnp.int32)
  return init_module(make_backbone(config).module, key, images, sizes)


def extract_features(params: dict, images: Array, image_sizes: Array, *,
                     config: ModelConfig) -> jax.Array:
  """Computes the features of a batch (paper, section 3).

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
  if config.partial_cells and (config.backbone != "vgg16" or config.pyramid_stride):
    raise ValueError(
        "model.partial_cells is for model.backbone 'vgg16' without model.pyramid_stride, found "
        f"{config.backbone!r} and {config.pyramid_stride}")
  return apply_module(make_backbone(config).module, params, images, image_sizes)
