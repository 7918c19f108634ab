"""The features of a batch, by the backbone that the config chooses.

Every layer keeps the cells that are not wholly inside an image (with `partial_cells`: that are
wholly outside) at zero, as if the image had been run by itself with zero padding. So the features
depend neither on the bucket nor on the other images of the batch.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from mnc_jax.config import ModelConfig, extensions
from mnc_jax.model.backbones.backbone import Backbone
from mnc_jax.model.backbones.hourglass import make_hourglass
from mnc_jax.model.backbones.pixels import PIXEL_PARAMETERS
from mnc_jax.model.backbones.resnet import DEPTHS, make_resnet
from mnc_jax.model.backbones.vgg16 import make_vgg16
from mnc_jax.model.flax_modules import apply_module, init_module
from mnc_jax.structs import Array

# By `ModelConfig.backbone`.
_MAKERS = {"vgg16": make_vgg16, "small": make_hourglass, **dict.fromkeys(DEPTHS, make_resnet)}


def register_backbone(name: str, make: Callable[[ModelConfig], Backbone]) -> None:
  """Makes a backbone of your own available as `config.model.backbone`.

  Configs, checkpoints and exported models keep its name alone: a program that reads them registers
  it first, and gets an error that says so if it did not.

  Args:
    name: lower-case letters, digits and underscores.
    make: returns the `Backbone` of a config: a Flax module that maps images [B, H, W, 3] uint8 RGB
      and image_sizes [B, 2] to features [B, H / stride, W / stride, channels] in
      `config.compute_dtype`, zero in the cells outside each image. `plain_backbone` makes one of
      any Flax module. It may read all fields of the config. Registering a name again
      replaces the backbone, and drops the programs that were compiled with the earlier one.

  Raises:
    ValueError: if the library has a backbone of this name.

  Example:
    >>> from flax import linen as nn
    >>> import mnc_jax
    >>> from mnc_jax.model.backbones.features import make_backbone
    >>> from mnc_jax.model.backbones.plain import plain_backbone
    >>> patches = nn.Conv(24, (8, 8), strides=8)
    >>> mnc_jax.register_backbone("patches", lambda config: plain_backbone(
    ...     patches, config, channels=24, stride=8))
    >>> make_backbone(mnc_jax.ModelConfig(backbone="patches")).channels
    24
  """
  if extensions.register("model.backbone", name, make):
    # Programs of the earlier one were compiled for equal configs.
    jax.clear_caches()


def make_backbone(config: ModelConfig) -> Backbone:
  """Returns the backbone of `config`.

  Raises:
    ValueError: if it is neither built in nor registered, or its numbers do not fit each other.
  """
  if config.backbone in _MAKERS:
    return _MAKERS[config.backbone](config)
  make = extensions.find("model.backbone", config.backbone)
  backbone = make(config)
  if min(backbone.channels, backbone.stride, backbone.multiple) < 1 or (
      backbone.multiple % backbone.stride):
    raise ValueError(
        f"the backbone {config.backbone!r} has {backbone.channels} channels, stride "
        f"{backbone.stride} and multiple {backbone.multiple}: all are 1 or more, and the multiple "
        "is one of the stride")
  return backbone


def frozen_layers(config: ModelConfig) -> tuple[str, ...]:
  """Returns the names of the layers in `features` that are never trained.

  These are the layers of `config.frozen_blocks`, and mean and scale of the pixels. Frozen batch
  normalisations, which also occur elsewhere in the model, are `resnet.FROZEN_NORMS`.
  """
  blocks = make_backbone(config).blocks[:config.frozen_blocks]
  return (*PIXEL_PARAMETERS, *(name for block in blocks for name in block))


def backbone_layers(config: ModelConfig) -> tuple[str, ...]:
  """Returns the names of the layers in `features` that are the backbone's own, not the pyramid's.

  None of a backbone without blocks, which has no pretrained weights.
  """
  return tuple(name for block in make_backbone(config).blocks for name in block)


def init_features(key: jax.Array, config: ModelConfig) -> dict:
  """Returns fresh parameters of the backbone of `config`."""
  backbone = make_backbone(config)
  side = -(-32 // backbone.multiple) * backbone.multiple
  images = jnp.zeros((1, side, side, 3), jnp.uint8)
  sizes = jnp.full((1, 2), side, jnp.int32)
  return init_module(backbone.module, key, images, sizes)


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
  backbone = make_backbone(config)
  features = apply_module(backbone.module, params, images, image_sizes)
  if config.backbone not in _MAKERS:
    _check_features(features, images, backbone, config)
  return features


def _check_features(features, images, backbone, config):
  """Raises ValueError if a registered backbone does not return what it promised."""
  count, *sides, _ = images.shape
  wanted = (count, *(side // backbone.stride for side in sides), backbone.channels)
  if features.shape != wanted or features.dtype != config.compute_dtype:
    raise ValueError(
        f"the backbone {config.backbone!r} returned {features.dtype}{list(features.shape)} for "
        f"images {list(images.shape)}, but with stride {backbone.stride} and {backbone.channels} "
        f"channels it is {config.compute_dtype}{list(wanted)}")
