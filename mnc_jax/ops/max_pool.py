"""Max-pooling that remembers which entry was the largest, for a cheap gradient."""

from collections.abc import Sequence
import functools
import math

import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp

from mnc_jax.structs import Array

WINNERS = "winners"
"""Name of what the gradients of the maxima here need, for policies of `jax.checkpoint`."""


def max_pool(inputs: Array, *, padding: str = "VALID") -> jax.Array:
  """Max-pools 2 x 2 cells at stride 2, like `nn.max_pool(inputs, (2, 2), (2, 2), padding)`.

  XLA's CPU backend takes the gradient by a search through all windows with an array of indices as
  large as `inputs`. There it is by `max_of_blocks`, in a tenth of the time; elsewhere by XLA's own.

  Args:
    inputs: [B, H, W, K].
    padding: of an odd last row or column. "VALID" drops it; "SAME" pools what there is.

  Returns:
    [B, H', W', K], H' = H / 2 rounded down or up.

  Gradient:
    Of equal entries the first in the order of rows takes it. On CPU by reverse mode only.
  """
  by_windows = lambda inputs: jax.lax.reduce_window(
      inputs, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), padding)
  by_blocks = functools.partial(_max_pool_blocks, padding=padding)
  return jax.lax.platform_dependent(inputs, cpu=by_blocks, default=by_windows)


def _max_pool_blocks(inputs, *, padding):
  batch, height, width, channels = inputs.shape
  if padding == "SAME":
    inputs = jnp.pad(inputs, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)),
                     constant_values=-jnp.inf)
  rows, columns = (side // 2 for side in inputs.shape[1:3])
  even = inputs[:, :2 * rows, :2 * columns]
  return max_of_blocks(even.reshape(batch, rows, 2, columns, 2, channels), (2, 4))


def max_of_blocks(blocks: Array, axes: Sequence[int]) -> jax.Array:
  """Returns the maximum over some axes.

  Args:
    blocks: array of any shape.
    axes: ascending. Each entry is compared by itself, so the product of their sizes is small.

  Returns:
    `blocks` without `axes`; NaN if an entry is.

  Gradient:
    Of equal entries the first takes it, in the order of `axes`. It is placed by the index of the
    winner, not by comparing the entries with the maximum: XLA may compute the entries twice with
    different rounding, and none is equal then.
  """
  sizes = [blocks.shape[axis] for axis in axes]
  maximum = jax.custom_vjp(lambda blocks: _first_largest(_entries(blocks, axes))[0])
  maximum.defvjp(lambda blocks: _keep_winner(*_first_largest(_entries(blocks, axes))),
                 functools.partial(_backward, axes=axes, sizes=sizes))
  return maximum(blocks)


def max_of_tiles(array: Array, count: int) -> jax.Array:
  """Returns the largest of count x count tiles, cell by cell.

  As `max_of_blocks` of the reshaped array, which is what it is on CPU. A TPU would have to copy it.

  Args:
    array: [R, count * S, count * S', K].
    count: of the tiles along each axis.

  Returns:
    [R, S, S', K]; NaN if an entry is.

  Gradient:
    As of `max_of_blocks`, in the order of rows.
  """
  maximum = jax.custom_vjp(lambda array: _largest_tile(array, count)[0])
  maximum.defvjp(lambda array: _keep_winner(*_largest_tile(array, count)),
                 functools.partial(_tiles_backward, count=count))
  return maximum(array)


def _largest_tile(array, count):
  height, width = (side // count for side in array.shape[1:3])
  blocks = lambda array: array.reshape(-1, count, height, count, width, array.shape[-1])
  tiles = lambda array: [
      array[:, height * i:height * (i + 1), width * j:width * (j + 1)]
      for i in range(count) for j in range(count)]
  return jax.lax.platform_dependent(
      array, cpu=lambda array: _first_largest(_entries(blocks(array), (1, 3))),
      default=lambda array: _first_largest(tiles(array)))


def _tiles_backward(winner, gradient, *, count):
  rois, height, width, channels = winner.shape

  def by_blocks(winner, gradient):
    won, = _backward(winner, gradient, axes=(1, 3), sizes=(count, count))
    return won.reshape(rois, count * height, count * width, channels)

  def by_tiles(winner, gradient):
    won = [jnp.where(winner == index, gradient, 0) for index in range(count * count)]
    rows = [jnp.concatenate(won[i:i + count], axis=2) for i in range(0, len(won), count)]
    return jnp.concatenate(rows, axis=1)

  return (jax.lax.platform_dependent(winner, gradient, cpu=by_blocks, default=by_tiles),)


def _entries(blocks, axes):
  entries = jnp.moveaxis(blocks, axes, range(len(axes)))
  # Not -1, which an array without rows leaves open.
  return entries.reshape(math.prod(entries.shape[:len(axes)]), *entries.shape[len(axes):])


def _first_largest(entries):
  """Returns the maximum of a sequence of arrays, and the index of the first that has it."""
  dtype = jnp.int8 if len(entries) <= 128 else jnp.int32
  largest, winner = entries[0], jnp.zeros(entries[0].shape, dtype)
  for index in range(1, len(entries)):
    better = (entries[index] > largest) | jnp.isnan(entries[index])
    largest = jnp.where(better, entries[index], largest)
    winner = jnp.where(better, dtype(index), winner)
  return largest, winner


def _keep_winner(largest, winner):
  return largest, checkpoint_name(winner, WINNERS)


def _backward(winner, gradient, *, axes, sizes):
  indices = jnp.arange(math.prod(sizes), dtype=winner.dtype).reshape(sizes)
  others = [axis for axis in range(winner.ndim + len(axes)) if axis not in axes]
  won = jnp.expand_dims(winner, axes) == jnp.expand_dims(indices, others)
  return (jnp.where(won, jnp.expand_dims(gradient, axes), 0),)
