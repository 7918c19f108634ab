"""Anchors: the boxes that stage 1 refines."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def make_anchors(height: int, width: int, *, stride: int, scales: Sequence[float],
                 ratios: Sequence[float]) -> jax.Array:
  """Returns the anchors of every cell of a feature map (Ren et al. 2015, section 3.1.1).

  The shapes are those of the published Faster R-CNN: for each ratio the sides of a
  stride x stride square are changed to width = round(sqrt(stride^2 / ratio)) and
  height = round(width * ratio), and only then scaled. So at small strides areas and ratios are
  approximate.

  Args:
    height: rows of the feature map.
    width: columns of the feature map.
    stride: pixels per cell.
    scales: anchor side over stride, S numbers.
    ratios: anchor height over width, T numbers.

  Returns:
    [height, width, A, 4] float32 pixels, A = T * S with the scales running fastest, each
    centred on its cell's centre ((j + .5) * stride, (i + .5) * stride). They may
    reach outside the image.

  Raises:
    ValueError: if a scale or ratio is not above 0, or a side is rounded to 0.

  Example:
    >>> import mnc_jax
    >>> anchors = mnc_jax.make_anchors(1, 2, stride=16, scales=(1.0, 2.0), ratios=(1.0,))
    >>> print(anchors[0, 1])
    [[16.  0. 32. 16.]
     [ 8. -8. 40. 24.]]
  """
  half_sides = 0.5 * anchor_sides(stride, scales, ratios)
  x, y = np.meshgrid((np.arange(width) + 0.5) * stride, (np.arange(height) + 0.5) * stride)
  centers = np.stack([x, y], axis=-1)[:, :, None]
  anchors = np.concatenate(
      [centers - half_sides[None, None], centers + half_sides[None, None]], axis=-1)
  return jnp.asarray(anchors, jnp.float32)


def anchor_sides(stride: int, scales: Sequence[float] | np.ndarray, ratios: Sequence[float]
                 ) -> np.ndarray:
  """Returns [A, 2] float64 (width, height) in pixels of the anchors of a cell of `make_anchors`.

  Raises:
    ValueError: if a scale or ratio is not above 0, or a side is rounded to 0.
  """
  shapes, factors = np.asarray(ratios, np.float64), np.asarray(scales, np.float64)
  if not ((shapes > 0).all() and (factors > 0).all()):
    raise ValueError(f"anchors have scales {scales} and ratios {ratios}: each must be above 0")
  widths = np.round(np.sqrt(stride**2 / shapes))
  heights = np.round(widths * shapes)
  sides = np.stack([widths, heights], axis=-1)
  if not sides.all():
    (width, height), ratio = (x[np.argmin(sides.min(axis=1))] for x in (sides, shapes))
    raise ValueError(f"anchors of ratio {ratio:g} have {width:g} x {height:g} pixels (width x "
                     f"height) at stride {stride}: choose a ratio closer to 1, or a larger stride")
  return (sides[:, None] * factors[None, :, None]).reshape(-1, 2)
