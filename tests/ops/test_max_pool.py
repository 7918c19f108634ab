"""Max-pooling that remembers the winner, beside Flax's."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnc_jax.ops import max_pool


def _pool_with_gradient(pool, x, slopes):
  values, backward = jax.vjp(pool, x)
  return values, backward(slopes.astype(values.dtype))[0]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize("side", [6, 7])
def test_values_and_gradients_are_those_of_flax_even_of_equal_entries(side, padding, dtype):
  rng = np.random.default_rng(0)
  # Few different numbers: a window of four mostly has two largest ones.
  x = jnp.asarray(rng.integers(-2, 2, (2, side, 9, 5)), dtype)
  flax = functools.partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2), padding=padding)
  slopes = jnp.asarray(rng.normal(size=flax(x).shape), jnp.float32)
  ours, expected = (jax.jit(functools.partial(_pool_with_gradient, pool))(x, slopes)
                    for pool in (functools.partial(max_pool.max_pool, padding=padding), flax))
  for found, right in zip(ours, expected, strict=True):
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, right)


def test_of_equal_entries_the_first_takes_the_gradient():
  blocks = jnp.array([[1.0, 3.0, 2.0], [3.0, 3.0, 0.0]])
  value, gradient = jax.value_and_grad(lambda x: 5 * max_pool.max_of_blocks(x, (0, 1)))(blocks)
  assert value == 15
  np.testing.assert_array_equal(gradient, [[0, 5, 0], [0, 0, 0]])


@pytest.mark.parametrize("place", range(4))
def test_nan_is_not_dropped(place):
  blocks = jnp.arange(4.0).at[place].set(jnp.nan)
  assert jnp.isnan(max_pool.max_of_blocks(blocks, (0,)))


def test_on_accelerators_the_gradient_is_by_windows():
  gradient = jax.jit(jax.grad(lambda x: max_pool.max_pool(x).sum()))
  lower = lambda platform: gradient.trace(jnp.ones((1, 4, 4, 1))).lower(
      lowering_platforms=(platform,)).as_text()
  assert "select_and_scatter" in lower("tpu")
  assert "select_and_scatter" not in lower("cpu")


def test_more_entries_than_a_byte_counts():
  gradient = jax.grad(lambda x: max_pool.max_of_blocks(x, (0,)))(jnp.arange(300.0))
  np.testing.assert_array_equal(gradient, np.arange(300) == 299)
