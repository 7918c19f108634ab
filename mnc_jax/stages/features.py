"""Shared convolutional features: the image is seen once, all stages read the result.

Every layer keeps the cells that are not wholly inside an image (with `partial_cells`: that are
wholly outside) at zero, as if the image had been run by itself with zero padding. So neither the
bucket nor the batch it travels in matters.
"""

import functools

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.ops.padding import clear_outside
from mnc_jax.pixels import PIXEL_PARAMETERS, center_pixels
from mnc_jax.resnet import DEPTHS, EXPANSION, ResNetC4, block_names

# VGG-16: channels of each block and its number of 3 x 3 convolutions
# (Simonyan & Zisserman 2015, configuration D). The fifth pooling is dropped.
_VGG16_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
# Rough centre and spread of 8-bit pixels, for the trunk that learns from scratch.
_PIXEL_CENTRE, _PIXEL_SPREAD = 127.5, 64.0


def _halve(x, *, partial):
  return nn.max_pool(x, (2, 2), strides=(2, 2), padding="SAME" if partial else "VALID")


class VGG16(nn.Module):
  """VGG-16 up to conv5_3 at stride 16; 512 channels."""

  config: ModelConfig

  @nn.compact
  def __call__(self, images, image_sizes):
    """Maps [B, H, W, 3] uint8 RGB to [B, H / 16, W / 16, 512], up with `partial_cells`."""
    partial = self.config.partial_cells
    dtype = jnp.dtype(self.config.compute_dtype)
    x = center_pixels(self, images, config=self.config)
    x = clear_outside(x, image_sizes, 1)
    for block, (channels, depth) in enumerate(_VGG16_BLOCKS, start=1):
      if block > 1:
        x = _halve(x, partial=partial)
      for layer in range(1, depth + 1):
        x = nn.relu(nn.Conv(channels, (3, 3), dtype=dtype, name=f"conv{block}_{layer}")(x))
        x = clear_outside(x, image_sizes, 2 ** (block - 1), partial=partial)
      if block == self.config.frozen_blocks:
        # Early layers are general and cost most of the memory; the release freezes them.
        x = jax.lax.stop_gradient(x)
    return x


class SmallTrunk(nn.Module):
  """A normalised hourglass at stride 4 that learns from scratch in minutes.

  Small objects need a fine stride, deciding what is an object needs a wide view. So
  the trunk goes down to stride 16 and comes back up to 4, adding what it passed
  (Lin et al. 2017, "Feature Pyramid Networks", figure 3). Layer normalisation looks at
  one cell at a time, so it cannot see the padding.
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, images, image_sizes):
    """Maps [B, H, W, 3] uint8 RGB, H and W multiples of 16, to [B, H / 4, W / 4, K]."""
    dtype = jnp.dtype(self.config.compute_dtype)
    widths = self.config.trunk_widths
    x = ((images.astype(jnp.float32) - _PIXEL_CENTRE) / _PIXEL_SPREAD).astype(dtype)
    x = clear_outside(x, image_sizes, 1)
    conv = functools.partial(self._conv, image_sizes=image_sizes)
    x = conv(x, widths[0], kernel=4, step=2, stride=2, name="stem")
    passed = []
    for level, width in enumerate(widths[1:], start=2):
      x = conv(x, width, kernel=2, step=2, stride=2**level, name=f"down{level}")
      x = x + conv(x, width, kernel=3, step=1, stride=2**level, name=f"block{level}")
      passed.append(x)
    for level in reversed(range(2, len(widths))):
      finer = passed[level - 2]
      x = nn.Conv(finer.shape[-1], (1, 1), dtype=dtype, name=f"up{level}")(x)
      x = finer + x.repeat(2, axis=1).repeat(2, axis=2)
      x = clear_outside(x, image_sizes, 2**level)
      x = x + conv(x, finer.shape[-1], kernel=3, step=1, stride=2**level, name=f"merge{level}")
    return x

  def _conv(self, x, width, *, kernel, step, stride, image_sizes, name):
    # Equal padding on both sides keeps cell (i, j) centred at ((j + .5)s, (i + .5)s).
    padding = (kernel - step) // 2
    x = nn.Conv(width, (kernel, kernel), strides=(step, step), padding=padding, use_bias=False,
                dtype=x.dtype, name=name)(x)
    x = nn.LayerNorm(dtype=x.dtype, name=f"{name}_norm")(x)
    return clear_outside(nn.relu(x), image_sizes, stride)


def feature_stride(config: ModelConfig) -> int:
  """Returns the pixels of the network input a feature cell of `config`'s trunk."""
  return 4 if config.trunk == "small" else 16


def feature_channels(config: ModelConfig) -> int:
  """Returns K, the channels of the features of `config`'s trunk."""
  if config.trunk in DEPTHS:
    return 4 * EXPANSION * config.resnet_width
  return config.trunk_widths[1] if config.trunk == "small" else _VGG16_BLOCKS[-1][0]


def coarsest_stride(config: ModelConfig) -> int:
  """Returns the pixels that sides of padded images are to be multiples of, by `config`."""
  return 2 ** len(config.trunk_widths) if config.trunk == "small" else 16


def frozen_layers(config: ModelConfig) -> tuple[str, ...]:
  """Returns the names inside `features` of what stays as it is loaded.

  These are the layers of `config.frozen_blocks`, and mean and scale of the pixels. Frozen batch
  normalisations, which are all over the model, are `resnet.FROZEN_NORMS`.
  """
  return (*PIXEL_PARAMETERS, *(name for block in _blocks(config)[:config.frozen_blocks]
                               for name in block))


def _blocks(config):
  """Returns the names of the layers of each block of a trunk that may be pretrained."""
  if config.trunk in DEPTHS:
    return block_names(config)
  if config.trunk == "vgg16":
    return tuple(tuple(f"conv{block}_{layer}" for layer in range(1, depth + 1))
                 for block, (_, depth) in enumerate(_VGG16_BLOCKS, start=1))
  return ()


def _trunk(config):
  if config.trunk in DEPTHS:
    return ResNetC4(config)
  return VGG16(config) if config.trunk == "vgg16" else SmallTrunk(config)


def init_features(key, config: ModelConfig):
  """Returns parameters of the trunk of `config`, drawn with `key`."""
  images = jnp.zeros((1, 32, 32, 3), jnp.uint8)
  sizes = jnp.full((1, 2), 32, jnp.int32)
  return _trunk(config).init(key, images, sizes)["params"]


def extract_features(params, images, image_sizes, *, config: ModelConfig):
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
    ValueError: if the padded size, or `config.partial_cells`, does not fit the trunk.
  """
  chex.assert_rank([images, image_sizes], [4, 2])
  height, width = images.shape[1:3]
  coarsest = coarsest_stride(config)
  if config.trunk == "small" and (height % coarsest or width % coarsest):
    raise ValueError(
        f"the small trunk needs image buckets in multiples of {coarsest} pixels, found {height} x "
        f"{width}: change data.buckets")
  if config.partial_cells and config.trunk != "vgg16":
    raise ValueError(f"model.partial_cells is for model.trunk 'vgg16', found {config.trunk!r}")
  return _trunk(config).apply({"params": params}, images, image_sizes)
