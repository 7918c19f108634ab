"""VGG-16 up to conv5_3, or its blocks joined into a finer map."""

from collections.abc import Iterator
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.model.backbones.backbone import Backbone
from mnc_jax.model.backbones.pixels import center_pixels
from mnc_jax.model.backbones.top_down import TopDown
from mnc_jax.model.flax_modules import Conv
from mnc_jax.ops.max_pool import max_pool
from mnc_jax.ops.padding import clear_outside
from mnc_jax.structs import Array

# Channels of each block and its number of 3 x 3 convolutions (Simonyan & Zisserman 2015,
# configuration D). The fifth pooling is dropped.
_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class ConvLayer(NamedTuple):
  """A 3 x 3 convolution of VGG-16.

  Attributes:
    name: "conv1_1" ... "conv5_3".
    block: 1 ... 5.
    inputs: channels.
    outputs: channels.
  """
  name: str
  block: int
  inputs: int
  outputs: int


def _conv_layers() -> Iterator[ConvLayer]:
  inputs = 3
  for block, (outputs, depth) in enumerate(_BLOCKS, start=1):
    for index in range(1, depth + 1):
      yield ConvLayer(f"conv{block}_{index}", block, inputs, outputs)
      inputs = outputs


VGG16_LAYERS = tuple(_conv_layers())
"""The 13 convolutions in order; each block but the first begins with a 2 x 2 max-pooling."""
VGG16_BLOCKS = tuple(tuple(layer for layer in VGG16_LAYERS if layer.block == block)
                     for block in range(1, 6))
"""The same layers by block."""


def make_vgg16(config: ModelConfig) -> Backbone:
  """Returns VGG-16 up to conv5_3, stride 16, or to the map of `config.pyramid_stride`."""
  names = tuple(tuple(layer.name for layer in layers) for layers in VGG16_BLOCKS)
  channels = config.pyramid_width if config.pyramid_stride else VGG16_LAYERS[-1].outputs
  return Backbone(VGG16(config), channels, stride=config.pyramid_stride or 16, multiple=16,
                  blocks=names)


class VGG16(nn.Module):
  """Convolutions with ReLU, and max-pooling between blocks."""

  config: ModelConfig

  @nn.compact
  def __call__(self, images: Array, image_sizes: Array) -> Array:
    """Maps [B, H, W, 3] uint8 RGB to [B, H // 16, W // 16, 512]; `partial_cells` rounds up.

    With `pyramid_stride` s the result is [B, H // s, W // s, `pyramid_width`].
    """
    partial = self.config.partial_cells
    padding = "SAME" if partial else "VALID"
    dtype = jnp.dtype(self.config.compute_dtype)
    x = center_pixels(self, images, config=self.config)
    x = clear_outside(x, image_sizes, 1)
    maps = {}
    for block, layers in enumerate(VGG16_BLOCKS, start=1):
      if block > 1:
        x = max_pool(x, padding=padding)
      for layer in layers:
        x = nn.relu(Conv(layer.outputs, (3, 3), dtype=dtype, name=layer.name)(x))
        x = clear_outside(x, image_sizes, 2 ** (block - 1), partial=partial)
      if block <= self.config.frozen_blocks:  # Each of them: a pyramid reads more than the last.
        # Early layers are general and cost most of the memory; the release freezes them.
        x = jax.lax.stop_gradient(x)
      maps[2 ** (block - 1)] = x
    if not self.config.pyramid_stride:
      return x
    return TopDown(self.config, name="top_down")(maps, image_sizes)
