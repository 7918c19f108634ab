"""Finer maps for a pretrained backbone: its blocks joined from coarse to fine."""

from collections.abc import Mapping

from flax import linen as nn
import jax
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.model.flax_modules import Conv
from mnc_jax.ops.padding import clear_outside
from mnc_jax.structs import Array


class TopDown(nn.Module):
  """Joins maps into one at `config.pyramid_stride`, as a feature pyramid does.

  Each map is normalised and projected to `config.pyramid_width` channels; a coarser sum is doubled
  in size and added, and a 3 x 3 convolution follows (Lin et al. 2017, "Feature Pyramid Networks",
  figure 3). Unlike there only the finest sum is used, by anchors and RoIs of all sizes: one map
  keeps stages and RoI warping as they are.
  Layer normalisation works on single cells, so it is independent of the padding. It also brings
  blocks of very different scale together: the root mean square of VGG-16's conv5_3 is 4 to 10,
  that of conv3_3 some hundred.
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, maps: Mapping[int, Array], image_sizes: Array) -> jax.Array:
    """Maps {stride: [B, H / stride, W / stride, K]}, each twice the one before, to one of them.

    The result is [B, H / s, W / s, config.pyramid_width] at s, `config.pyramid_stride`, zero
    outside the images. Finer maps are not used.
    """
    coarse, *finer = sorted(
        (stride for stride in maps if stride >= self.config.pyramid_stride), reverse=True)
    x = self._merge(self._lateral(maps[coarse], coarse), image_sizes, coarse)
    for stride in finer:
      lateral = self._lateral(maps[stride], stride)
      x = self._merge(lateral + _double(x, lateral.shape), image_sizes, stride)
    return x

  def _lateral(self, x, stride):
    x = nn.LayerNorm(dtype=x.dtype, name=f"lateral{stride}_norm")(x)
    return Conv(self.config.pyramid_width, (1, 1), dtype=x.dtype, name=f"lateral{stride}")(x)

  def _merge(self, x, image_sizes, stride):
    x = clear_outside(x, image_sizes, stride)
    y = Conv(x.shape[-1], (3, 3), use_bias=False, dtype=x.dtype, name=f"merge{stride}")(x)
    y = nn.relu(nn.LayerNorm(dtype=x.dtype, name=f"merge{stride}_norm")(y))
    return clear_outside(x + y, image_sizes, stride)


def _double(x, shape):
  """Returns x [B, h, w, K] at twice its size, with a last row and column of 0 if `shape` has one.

  Cells at the far border that no coarser cell covers wholly have no coarser features.
  """
  x = x.repeat(2, axis=1).repeat(2, axis=2)
  return jnp.pad(x, [(0, size - found) for size, found in zip(shape, x.shape, strict=True)])
