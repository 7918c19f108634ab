"""Every differentiable function against central differences: compiled, under vmap, some plain."""

import jax
import pytest

from gradients import networks, operations
from gradients.differences import TOLERANCE, compare

ROWS = operations.ROWS + networks.ROWS


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_gradient_is_the_difference_quotient(row):
  with jax.enable_x64(True):
    errors = compare(row)
  print(f"relative error {max(errors.values()):.1e}  {row}")
  assert set(errors) == set(row.ways) != set()
  assert max(errors.values()) < TOLERANCE, errors
