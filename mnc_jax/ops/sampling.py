"""Choosing rows with static shapes: random subsets and the best ones."""

import chex
import jax
import jax.numpy as jnp

from mnc_jax.ops.boxes import as_float
from mnc_jax.structs import Array


def sample_mask(key: jax.Array, mask: Array, count: int | Array, *, limit: int) -> jax.Array:
  """Returns a uniformly random subset of the True entries of a mask.

  Args:
    key: random key.
    mask: [N] bool.
    count: entries to keep, may be traced; negative counts as 0.
    limit: the largest `count` that can occur. Only so many entries are sorted.

  Returns:
    [N] bool with min(count, limit, mask.sum()) entries True, all of them True in `mask`.
  """
  chex.assert_rank(mask, 1)
  mask = jnp.asarray(mask)
  priority = jnp.where(mask, -jax.random.uniform(key, mask.shape), -jnp.inf)
  indices, valid = top_indices(priority, limit)
  kept = valid & (jnp.arange(limit) < count)
  # Unused slots write to an extra row.
  rows = jnp.where(kept, indices, mask.shape[0])
  return jnp.zeros(mask.shape[0] + 1, bool).at[rows].set(True)[:-1]


def top_indices(priority: Array, size: int) -> tuple[jax.Array, jax.Array]:
  """Returns the rows of highest priority.

  Args:
    priority: [N]. Only rows with a finite one are chosen.
    size: rows to choose; may exceed N.

  Returns:
    indices: [size] int32, highest first, of equals the lower index first; 0 in padding.
    valid: [size] bool, False in padding.
  """
  chex.assert_rank(priority, 1)
  # Which row is chosen is piecewise constant in the priorities.
  priority = jax.lax.stop_gradient(as_float(priority))
  priority = jnp.where(jnp.isfinite(priority), priority, -jnp.inf)
  padding = max(size - priority.shape[0], 0)
  priority = jnp.pad(priority, (0, padding), constant_values=-jnp.inf)
  best, indices = jax.lax.top_k(priority, size)
  valid = best > -jnp.inf
  return jnp.where(valid, indices, 0).astype(jnp.int32), valid
