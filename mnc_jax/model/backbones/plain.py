"""A backbone of any Flax module that maps images to features."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.model.backbones.backbone import Backbone
from mnc_jax.model.backbones.pixels import scale_pixels
from mnc_jax.ops.padding import clear_outside
from mnc_jax.structs import Array


def plain_backbone(module: nn.Module, config: ModelConfig, *, channels: int, stride: int,
                   multiple: int | None = None) -> Backbone:
  """Returns a backbone of a module that knows neither pixels of 8 bits nor padding.

  Padding is zero in the module's input and cleared in its output. In between it is not: a bias or
  a normalisation over the map makes it differ from zero, and then the last cells before the border
  of an image depend slightly on the bucket. A module that takes the sizes of the images itself, and
  calls `ops.padding.clear_outside` after each layer as the backbones beside this file do, is exact.

  Args:
    module: maps images [B, H, W, 3] in `config.compute_dtype`, of about -2 to 2 and zero outside
      each image, to features [B, H / stride, W / stride, channels].
    config: the model.
    channels: of the features.
    stride: pixels per cell.
    multiple: of the sides of padded images, in pixels; None: the stride.
  """
  return Backbone(_Plain(module, stride, config.compute_dtype), channels, stride=stride,
                  multiple=multiple or stride, blocks=())


class _Plain(nn.Module):
  """The module between pixels and cells of the images."""

  module: nn.Module
  stride: int
  compute_dtype: str

  @nn.compact
  def __call__(self, images: Array, image_sizes: Array) -> jax.Array:
    """Maps [B, H, W, 3] uint8 RGB to [B, H / stride, W / stride, K], zero outside the images."""
    dtype = jnp.dtype(self.compute_dtype)
    features = self.module(scale_pixels(images, image_sizes, dtype=dtype)).astype(dtype)
    return clear_outside(features, image_sizes, self.stride)
