"""Which cells of a feature map belong to the image, and which to the padding."""

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
  rows, columns = image_sizes[..., 0, None] // stride, image_sizes[..., 1, None] // stride
  inside_rows = jnp.arange(height) < rows
  inside_columns = jnp.arange(width) < columns
  return inside_rows[..., :, None] & inside_columns[..., None, :]
