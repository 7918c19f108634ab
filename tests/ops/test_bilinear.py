"""Weights of one axis, dense and as neighbours."""

import jax
import jax.numpy as jnp
import numpy as np

from mnc_jax.ops.bilinear import clamped_kappa, kappa, neighbors

CELLS = 5
POSITIONS = np.array([-1e30, -2, -1, -0.75, -0.5, 0, 0.25, 1, 1.5, 3, 3.75, 4, 4.5, 5, 6, 1e30],
                     np.float32)


def scattered(positions):
  """The weights of `neighbors` as a dense matrix."""
  indices, weights = neighbors(positions, CELLS)
  dense = jnp.zeros((len(positions), CELLS))
  return dense.at[jnp.arange(len(positions))[:, None], indices].add(weights)


def test_kappa_by_hand():
  found = kappa(jnp.array([[-0.25, 0.0], [1.5, 4.75]]), CELLS)
  expected = [[[0.75, 0, 0, 0, 0], [1, 0, 0, 0, 0]], [[0, 0.5, 0.5, 0, 0], [0, 0, 0, 0, 0.25]]]
  np.testing.assert_array_equal(found, expected)


def test_dense_weights_and_slopes_are_those_of_the_neighbors():
  for function in (lambda f: f, jax.jit):
    np.testing.assert_array_equal(
        function(lambda x: kappa(x, CELLS))(POSITIONS), function(scattered)(POSITIONS))
    slopes, expected = (function(jax.jacfwd(weights))(POSITIONS)
                        for weights in (lambda x: kappa(x, CELLS), scattered))
    np.testing.assert_array_equal(slopes, expected)
  # To the right of a whole position, with zero padding beyond the last cell.
  one = lambda x: jax.jacrev(lambda x: kappa(x, CELLS))(jnp.float32(x))
  np.testing.assert_array_equal(one(1), [0, -1, 1, 0, 0])
  np.testing.assert_array_equal(one(-1), [1, 0, 0, 0, 0])
  np.testing.assert_array_equal(one(4), [0, 0, 0, 0, -1])
  np.testing.assert_array_equal(one(5), np.zeros(5))


def test_an_error_in_the_last_bit_moves_the_weights_as_little():
  whole = np.arange(-1, 6, dtype=np.float32)
  for direction in (-np.inf, np.inf):
    near = np.nextafter(whole, np.float32(direction))
    np.testing.assert_allclose(kappa(near, CELLS), kappa(whole, CELLS), atol=1e-6)


def test_clamped_positions_take_the_outer_cells():
  found = clamped_kappa(jnp.array([-3.0, -0.25, 4.25, 9.0]), CELLS)
  np.testing.assert_array_equal(found, np.eye(CELLS)[[0, 0, 4, 4]])
  slopes = jax.jacfwd(lambda x: clamped_kappa(x, CELLS))(jnp.float32(4.25))
  np.testing.assert_array_equal(slopes, np.zeros(CELLS))
