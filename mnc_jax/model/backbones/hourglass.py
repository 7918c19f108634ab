"""A small normalised hourglass that learns from scratch."""

import functools

from flax import linen as nn
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.ops.padding import clear_outside

# Rough centre and spread of 8-bit pixels, for the backbone that learns from scratch.
_PIXEL_CENTRE, _PIXEL_SPREAD = 127.5, 64.0


class Hourglass(nn.Module):
  """A normalised hourglass at stride 4 that learns from scratch in minutes.

  Small objects need a fine stride, deciding what is an object needs a wide view. So
  the backbone goes down to stride 16 and comes back up to 4, adding what it passed
  (Lin et al. 2017, "Feature Pyramid Networks", figure 3). Layer normalisation looks at
  one cell at a time, so it cannot see the padding.
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, images, image_sizes):
    """Maps [B, H, W, 3] uint8 RGB, H and W multiples of 16, to [B, H / 4, W / 4, K]."""
    dtype = jnp.dtype(self.config.compute_dtype)
    widths = self.config.backbone_widths
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
