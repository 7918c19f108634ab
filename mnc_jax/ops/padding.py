"""Which cells of a feature map belong to the image, and which to the padding."""

import jax
import jax.numpy as jnp

from mnc_jax.structs import Array


def count_cells(image_sizes: Array, stride: int, *, partial: bool = False) -> Array:
  """Returns the numbers of rows and columns of cells that belong to each image.

  Args:
    image_sizes: [..., 2] int32 (height, width) in pixels.
    stride: pixels per cell.
    partial: cells that are only partly inside the image count too.

  Returns:
    [..., 2] int32 (rows, columns); (0, 0) for an image of size (0, 0).
  """
  return -(-image_sizes // stride) if partial else image_sizes // stride


def clear_outside(
    x: Array, image_sizes: Array, stride: int, *, partial: bool = False) -> jax.Array:
  """Returns features [B, h, w, K] with zeros in the cells outside each image.

  Args:
    x: [B, h, w, K].
    image_sizes: [B, 2] int32 (height, width) in pixels.
    stride: pixels per cell.
    partial: as in `count_cells`.
  """
  inside = cells_inside(image_sizes, stride, x.shape[1], x.shape[2], partial=partial)
  return jnp.where(inside[..., None], x, jnp.zeros_like(x))


def cells_inside(image_sizes: Array, stride: int, height: int, width: int, *,
                 partial: bool = False) -> jax.Array:
  """Returns the mask of the cells of a [height, width] map that belong to each image.

  Args:
    image_sizes: [..., 2] int32 (height, width) in pixels.
    stride: pixels per cell.
    height: rows of the map.
    width: columns of the map.
    partial: as in `count_cells`.

  Returns:
    [..., height, width] bool; all False for an image of size (0, 0).
  """
  limits = count_cells(image_sizes, stride, partial=partial)
  batch = limits.shape[:-1]
  rows = jax.lax.broadcasted_iota(jnp.int32, (*batch, height), len(batch)) < limits[..., :1]
  columns = jax.lax.broadcasted_iota(jnp.int32, (*batch, width), len(batch)) < limits[..., 1:]
  return rows[..., :, None] & columns[..., None, :]
