"""One axis of bilinear interpolation: sampling positions, neighbours, weights.

Bilinear weights are separable, kappa(x - u) = max(0, 1 - |x - u|) along each axis.
Positions count cells: cell u has its centre at position u.
"""

import jax.numpy as jnp

from mnc_jax.ops.boxes import larger, smaller


def rounded(product):
  """Returns `product` as it is, rounded before anything is added to it.

  For products that a sampling position is the sum of. XLA computes positions twice, for the indices
  and for the weights of `neighbors`, and LLVM contracts a product and a sum to one operation in
  one place and not in the other. Where a position is whole, the last row of a mask read at its own
  cells, the two then differ by a cell: indices 6 and 7 with the weights of 5 and 6.
  """
  return smaller(product, jnp.finfo(product.dtype).max)


def cell_centers(low, high, count):
  """Returns the centres of `count` equal cells between `low` and `high`, [...] -> [..., count].

  low + (i + .5) / count * (high - low): multiplied by the extent, never divided by it,
  so that an empty interval has finite gradients.
  """
  steps = ((jnp.arange(count) + 0.5) / count).astype(low.dtype)
  steps = steps.reshape((1,) * low.ndim + (count,))
  return low[..., None] + rounded(steps * (high - low)[..., None])


def neighbors(positions, cells):
  """Returns the two cells each position lies between, and their weights.

  They are floor and floor + 1 (not ceil, whose slope vanishes at whole positions).

  Args:
    positions: [...] float, in cells.
    cells: int, cells of the axis.

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


def kappa_matrix(indices, weights, cells):
  """Returns [..., cells] dense weights of `neighbors`: indices [..., 2], their weights [..., 2]."""
  axis = jnp.arange(cells, dtype=jnp.int32).reshape((1,) * (indices.ndim - 1) + (1, cells))
  return jnp.sum(jnp.where(indices[..., None] == axis, weights[..., None], 0.0), axis=-2)


def clamped_kappa(positions, cells):
  """Returns kappa weights [..., cells] with positions clamped to the outer cells' centres."""
  indices, weights = neighbors(smaller(larger(positions, 0.0), cells - 1.0), cells)
  return kappa_matrix(indices, weights, cells)
