"""The images that validations use."""

import numpy as np
import pytest

from helpers.toy_sets import make_source
from mnc_jax.training.validation import space_evenly


@pytest.mark.parametrize(("count", "rows"), [
    (1, [0]), (3, [0, 3, 6]), (4, [0, 2, 5, 7]), (10, range(10)), (99, range(10))])
def test_images_are_evenly_spaced_over_the_split(count, rows):
  chosen = space_evenly(make_source([(8, 8)] * 10), count)
  np.testing.assert_array_equal(chosen.image_ids, 100 + np.array(rows))
