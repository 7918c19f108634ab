"""Sizes at the scale of the network, and their buckets, by hand."""

import numpy as np
import pytest

from mnc_jax.data import scaling


def test_scaled_sizes():
  sizes = [(480, 640), (640, 480), (300, 1200), (7, 1000)]
  np.testing.assert_array_equal(
      scaling.scaled_sizes(sizes, 600, 1000), [[600, 800], [800, 600], [250, 1000], [7, 1000]])
  np.testing.assert_allclose(
      scaling.scale_factors(sizes, 600, 1000), [1.25, 1.25, 1000 / 1200, 1.0])


def test_buckets():
  buckets = ((600, 1000), (1000, 600), (640, 640))
  sizes = [(600, 800), (800, 600), (600, 600), (1000, 600)]
  np.testing.assert_array_equal(
      scaling.choose_buckets(sizes, buckets, [1, 2, 3, 4]), [0, 1, 2, 1])
  with pytest.raises(ValueError, match="image 8 is 601 x 1000 .* none of data.buckets"):
    scaling.choose_buckets([(600, 1000), (601, 1000)], ((600, 1000),), [7, 8])
