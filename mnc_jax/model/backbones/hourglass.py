"""A small normalised hourglass that learns from scratch."""

import functools

from flax import linen as nn
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.model.backbones.backbone import Backbone
from mnc_jax.model.backbones.pixels import scale_pixels
from mnc_jax.model.flax_modules import Conv
from mnc_jax.ops.padding import clear_outside
from mnc_jax.structs import Array


def make_hourglass(config: ModelConfig) -> Backbone:
  """Returns the small backbone, which is never pretrained."""
  widths = config.backbone_widths
  return Backbone(Hourglass(config), widths[1], stride=4, multiple=2 ** len(widths), blocks=())


class Hourglass(nn.Module):
  """A normalised hourglass at stride 4 that learns from scratch in minutes.

  Small objects need a fine stride, recognising objects needs a large receptive field. So the
  backbone downsamples to stride 16 and upsamples to 4 again, adding the maps on the way
  (Lin et al. 2017, "Feature Pyramid Networks", figure 3). Layer normalisation works on single
  cells, so it is independent of the padding.
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, images: Array, image_sizes: Array) -> Array:
    """Maps [B, H, W, 3] uint8 RGB to [B, H / 4, W / 4, K]."""
    multiple = 2 ** len(self.config.backbone_widths)
    if images.shape[1] % multiple or images.shape[2] % multiple:
      raise ValueError(
          f"the small backbone needs image buckets in multiples of {multiple} pixels, found "
          f"{images.shape[1]} x {images.shape[2]}: change data.buckets")
    dtype = jnp.dtype(self.config.compute_dtype)
    widths = self.config.backbone_widths
    x = scale_pixels(images, image_sizes, dtype=dtype)
    conv = functools.partial(self._conv, image_sizes=image_sizes)
    x = conv(x, widths[0], kernel=4, step=2, stride=2, name="stem")
    finer_maps = []
    for level, width in enumerate(widths[1:], start=2):
      x = conv(x, width, kernel=2, step=2, stride=2**level, name=f"down{level}")
      x = x + conv(x, width, kernel=3, step=1, stride=2**level, name=f"block{level}")
      finer_maps.append(x)
    for level in reversed(range(2, len(widths))):
      finer = finer_maps[level - 2]
      x = Conv(finer.shape[-1], (1, 1), dtype=dtype, name=f"up{level}")(x)
      x = finer + x.repeat(2, axis=1).repeat(2, axis=2)
      x = clear_outside(x, image_sizes, 2**level)
      x = x + conv(x, finer.shape[-1], kernel=3, step=1, stride=2**level, name=f"merge{level}")
    return x

  def _conv(self, x, width, *, kernel, step, stride, image_sizes, name):
    # Equal padding on both sides keeps cell (i, j) centred at ((j + .5)s, (i + .5)s).
    padding = (kernel - step) // 2
    x = Conv(width, (kernel, kernel), strides=(step, step), padding=padding, use_bias=False,
             dtype=x.dtype, name=name)(x)
    x = nn.LayerNorm(dtype=x.dtype, name=f"{name}_norm")(x)
    return clear_outside(nn.relu(x), image_sizes, stride)
