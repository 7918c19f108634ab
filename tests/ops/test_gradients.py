"""Operations that change only the gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from mnc_jax.ops.gradients import clip_gradient


def test_clipping_leaves_values_and_small_gradients_alone():
  x = jnp.array([1.0, -2.0, 3.0])
  slope = jnp.array([0.01, -5.0, 5.0])
  value, gradient = jax.value_and_grad(lambda x: jnp.sum(slope * clip_gradient(x, 0.5)))(x)
  np.testing.assert_allclose(value, 0.01 + 10 + 15, rtol=1e-6)
  np.testing.assert_allclose(gradient, [0.01, -0.5, 0.5], rtol=1e-6)


def test_clipping_works_under_jit_and_vmap():
  gradient = jax.jit(jax.vmap(jax.grad(lambda x: 7 * clip_gradient(x, 2.0))))(jnp.ones(3))
  np.testing.assert_array_equal(gradient, [2.0, 2.0, 2.0])
