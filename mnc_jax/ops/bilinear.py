"""One axis of bilinear interpolation: sampling positions, neighbours, weights.

Bilinear weights are separable, kappa(x - u) = max(0, 1 - |x - u|) along each axis.
Positions count cells: cell u has its centre at position u.
"""

import jax
import jax.numpy as jnp

from mnc_jax.ops.boxes import larger, smaller
from mnc_jax.structs import Array


def cell_centers(low: Array, high: Array, count: int) -> Array:
  """Returns the centres of `count` equal cells between `low` and `high`, [...] -> [..., count].

  low + (i + .5) / count * (high - low): multiplied by the extent, never divided by it,
  so that an empty interval has finite gradients.
  """
  return low[..., None] + along(high - low, (jnp.arange(count) + 0.5) / count)


def along(extents: Array, fractions: Array) -> Array:
  """Returns `fractions` [N] of `extents` [...] in their dtype, [..., N]."""
  return fractions.astype(extents.dtype).reshape((1,) * extents.ndim + (-1,)) * extents[..., None]


def kappa(positions: Array, cells: int) -> jax.Array:
  """Returns the weights of all cells of an axis.

  Continuous in `positions`, so an error in their last bit changes weights as little. Slopes
  are those of `neighbors`: at a whole position the one to its right.

  Args:
    positions: [...] float, in cells.
    cells: of the axis.

  Returns:
    [..., cells], at most two neighbouring ones nonzero. Cells beyond the axis would have the
    missing weight (zero padding).
  """
  axis = jnp.arange(cells, dtype=positions.dtype).reshape((1,) * positions.ndim + (cells,))
  offset = positions[..., None] - axis
  hat = jnp.where(offset < 0, 1.0 + offset, 1.0 - offset)
  return jnp.where((offset >= -1) & (offset < 1), hat, 0.0)


def clamp_positions(positions: Array, cells: int | Array) -> jax.Array:
  """Returns positions clamped to the outer cells' centres.

  At a centre the gradient is that to its right: beyond the last one 0, as the clamped function is
  constant there.
  """
  return jnp.where(positions >= cells - 1.0, cells - 1.0, larger(positions, 0.0))


def clamped_kappa(positions: Array, cells: int) -> jax.Array:
  """Returns `kappa` of positions clamped to the outer cells' centres."""
  return kappa(clamp_positions(positions, cells), cells)


def neighbors(positions: Array, cells: int) -> tuple[jax.Array, jax.Array]:
  """Returns the two cells each position lies between, and their weights.

  They are floor and floor + 1 (not ceil, whose slope vanishes at whole positions). Products that
  a position is the sum of must be `rounded`.

  Args:
    positions: [...] float, in cells.
    cells: of the axis.

  Returns:
    indices: [..., 2] int32, within the axis.
    weights: [..., 2], kappa of each neighbour; 0 for one outside the axis (zero padding).
  """
  low = jnp.floor(positions)
  fraction = positions - low
  # Clipped before the cast: far positions would overflow int32.
  low = jnp.clip(low, -2, cells).astype(jnp.int32)
  indices = jnp.stack([low, low + 1], axis=-1)
  weights = jnp.stack([1.0 - fraction, fraction], axis=-1)
  inside = (indices >= 0) & (indices < cells)
  # Out-of-range indices are masked here because gathers wrap or clamp them silently.
  return jnp.clip(indices, 0, cells - 1), jnp.where(inside, weights, 0.0)


def rounded(product: Array) -> jax.Array:
  """Identity that stops the compiler from fusing `product` into an FMA.

  Only for the positions of `neighbors`. XLA computes them twice, for the indices of a gather and
  for the weights, and LLVM may contract product and sum in one of the two. At a whole position
  they then differ by a cell: indices 6 and 7 with the weights of 5 and 6.
  `jax.lax.optimization_barrier` and `reduce_precision` do not prevent it on CPU (JAX 0.10.2).
  """
  return smaller(product, float(jnp.finfo(product.dtype).max))
