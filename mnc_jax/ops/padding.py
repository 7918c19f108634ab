"""Which cells of a feature map belong to the image, and which to the padding."""

import jax
import jax.numpy as jnp


def cells_inside(image_sizes, stride: int, height: int, width: int):
  """Says which cells of a [height, width] map lie wholly inside each image.

  Args:
    image_sizes: [..., 2] int32 (height, width) in pixels.
    stride: pixels a cell.
    height: rows of the map.
    width: columns of the map.

  Returns:
    [..., height, width] bool; all False for an image of size (0, 0).
  """
  limits = image_sizes // stride
  rows = jax.lax.broadcasted_iota(jnp.int32, (height, width), 0)
  columns = jax.lax.broadcasted_iota(jnp.int32, (height, width), 1)
  inside = lambda limit: (rows < limit[0]) & (columns < limit[1])
  for _ in range(image_sizes.ndim - 1):
    inside = jax.vmap(inside)
  return inside(limits)
