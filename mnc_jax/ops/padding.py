"""Which cells of a feature map belong to the image, and which to the padding."""

import jax
import jax.numpy as jnp


def count_cells(image_sizes, stride: int, *, partial: bool = False):
  """Returns how many rows and columns of cells belong to each image.

  Args:
    image_sizes: [..., 2] int32 (height, width) in pixels.
    stride: pixels a cell.
    partial: cells that the image fills only in part count too.

  Returns:
    [..., 2] int32 (rows, columns); (0, 0) for an image of size (0, 0).
  """
  return -(-image_sizes // stride) if partial else image_sizes // stride


def clear_outside(x, image_sizes, stride: int, *, partial: bool = False):
  """Returns features [B, h, w, K] with zeros in the cells outside each image.

  Args:
    x: [B, h, w, K].
    image_sizes: [B, 2] int32 (height, width) in pixels.
    stride: pixels a cell.
    partial: cells that the image fills only in part stay.
  """
  inside = cells_inside(image_sizes, stride, x.shape[1], x.shape[2], partial=partial)
  return jnp.where(inside[..., None], x, jnp.zeros_like(x))


def cells_inside(image_sizes, stride: int, height: int, width: int, *, partial: bool = False):
  """Says which cells of a [height, width] map belong to each image.

  Args:
    image_sizes: [..., 2] int32 (height, width) in pixels.
    stride: pixels a cell.
    height: rows of the map.
    width: columns of the map.
    partial: cells that the image fills only in part belong to it too.

  Returns:
    [..., height, width] bool; all False for an image of size (0, 0).
  """
  limits = count_cells(image_sizes, stride, partial=partial)
  rows = jax.lax.broadcasted_iota(jnp.int32, (height, width), 0)
  columns = jax.lax.broadcasted_iota(jnp.int32, (height, width), 1)
  inside = lambda limit: (rows < limit[0]) & (columns < limit[1])
  for _ in range(image_sizes.ndim - 1):
    inside = jax.vmap(inside)
  return inside(limits)
