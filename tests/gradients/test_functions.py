"""Every differentiable function against central differences: compiled, under vmap, some plain."""

import jax
import pytest

from gradients import networks, operations
from gradients.differences import TOLERANCE, Row, compare

ROWS = operations.ROWS + networks.ROWS


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_gradient_is_the_difference_quotient(row):
  with jax.enable_x64(True):
    errors = compare(row)
  print(f"relative error {max(errors.values()):.1e}  {row}")
  assert set(errors) == set(row.ways) != set()
  assert max(errors.values()) < TOLERANCE, errors


def test_a_gradient_that_misses_a_part_is_noticed_each_way():
  square = Row("square", lambda x: x * jax.lax.stop_gradient(x), lambda rng: (
      rng.uniform(1, 2, 3),), (0,), ways=("vmap", "jit", "plain"))
  with jax.enable_x64(True):
    errors = compare(square)
  assert set(errors) == set(square.ways)
  # Half of the derivative 2 x is missing.
  assert all(error == pytest.approx(0.5, abs=1e-6) for error in errors.values())
