"""Random subsets and best rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnc_jax.ops.sampling import sample_mask, top_indices

MASK = np.array([True, False, True, True, False, True, True, False])


@pytest.mark.parametrize("count", [-1, 0, 1, 3, 5, 100])
@pytest.mark.parametrize("limit", [4, 8, 20])
def test_sample_keeps_as_many_as_there_are(count, limit):
  kept = np.asarray(sample_mask(jax.random.key(0), MASK, count, limit=limit))
  assert kept.dtype == bool and kept.sum() == min(max(count, 0), limit, 5)
  assert not np.any(kept & ~MASK)


def test_sample_is_uniform_and_traced_once():
  traces = []
  @jax.jit
  def sample(keys, count):
    traces.append(1)
    return jax.vmap(lambda key: sample_mask(key, MASK, count, limit=4))(keys)
  for seed, count in enumerate((2, 4)):
    kept = sample(jax.random.split(jax.random.key(seed), 4000), count)
    # 4000 draws: the standard error of each frequency is below .008.
    np.testing.assert_allclose(np.mean(kept, axis=0), MASK * count / 5, atol=0.04)
    pairs = np.mean(kept[:, 0] & kept[:, 2])
    np.testing.assert_allclose(pairs, count * (count - 1) / 20, atol=0.04)
  assert len(traces) == 1


def test_sample_is_the_start_of_a_shuffle():
  mask = np.random.default_rng(1).uniform(size=500) < 0.4
  order = np.argsort(jax.random.uniform(jax.random.key(3), mask.shape), kind="stable")
  kept = sample_mask(jax.random.key(3), mask, 30, limit=64)
  np.testing.assert_array_equal(np.flatnonzero(kept), np.sort(order[mask[order]][:30]))


def test_sample_of_nothing():
  assert not sample_mask(jax.random.key(0), np.zeros(4, bool), 3, limit=3).any()


def test_top_by_hand():
  priority = jnp.array([0.5, -jnp.inf, 2.0, 0.5, jnp.nan, jnp.inf, -3.0])
  indices, valid = jax.jit(top_indices, static_argnums=1)(priority, 6)
  # Equal ones by index; -inf, NaN and inf never.
  np.testing.assert_array_equal(indices, [2, 0, 3, 6, 0, 0])
  np.testing.assert_array_equal(valid, [True] * 4 + [False] * 2)
  assert indices.dtype == jnp.int32


def test_top_of_fewer_rows_than_asked():
  indices, valid = top_indices(jnp.array([1.0, 3.0]), 5)
  np.testing.assert_array_equal(indices, [1, 0, 0, 0, 0])
  np.testing.assert_array_equal(valid, [True, True, False, False, False])


def test_top_against_a_stable_sort():
  rng = np.random.default_rng(0)
  priority = np.round(rng.uniform(size=(5, 200)) * 20).astype(np.float32)
  indices, valid = jax.vmap(lambda row: top_indices(row, 90))(priority)
  np.testing.assert_array_equal(indices, np.argsort(-priority, axis=1, kind="stable")[:, :90])
  assert valid.all()


def test_top_takes_no_gradient_but_the_chosen_values_do():
  def best_two(priority):
    indices, _ = top_indices(priority, 2)
    return priority[indices].sum()
  np.testing.assert_array_equal(jax.grad(best_two)(jnp.array([3.0, 1.0, 2.0])), [1, 0, 1])
