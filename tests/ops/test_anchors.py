"""Anchors."""

import jax.numpy as jnp
import numpy as np
import pytest

from mnc_jax.ops.anchors import make_anchors

SCALES, RATIOS = (8.0, 16.0, 32.0), (0.5, 1.0, 2.0)


def test_the_nine_published_shapes():
  anchors = make_anchors(1, 1, stride=16, scales=SCALES, ratios=RATIOS)[0, 0]
  sides = np.asarray(anchors[:, 2:] - anchors[:, :2])
  np.testing.assert_array_equal(
      sides, [(184, 96), (368, 192), (736, 384), (128, 128), (256, 256), (512, 512),
              (88, 176), (176, 352), (352, 704)])
  np.testing.assert_array_equal(anchors[0], [-84, -40, 100, 56])


def test_centres_follow_rows_and_columns():
  anchors = make_anchors(3, 5, stride=4, scales=(2.0, 3.0), ratios=(1.0,))
  assert anchors.shape == (3, 5, 2, 4) and anchors.dtype == jnp.float32
  centers = np.asarray(anchors[..., :2] + anchors[..., 2:]) / 2
  np.testing.assert_array_equal(centers[2, 4], [[18, 10], [18, 10]])
  np.testing.assert_array_equal(centers[0, 1], [[6, 2], [6, 2]])
  np.testing.assert_array_equal(anchors[1, 2, 1], [4, 0, 16, 12])


def test_against_the_release(shared_dir):
  inclusive = np.load(shared_dir / "reference/release/proposals.npz")["anchors_inclusive"]
  anchors = make_anchors(1, 1, stride=16, scales=SCALES, ratios=RATIOS)[0, 0]
  np.testing.assert_array_equal(anchors, inclusive + np.array([[0, 0, 1, 1]]))


def test_a_side_that_is_rounded_to_0_is_reported():
  message = r"anchors of ratio 0\.5 have 1 x 0 pixels \(width x height\) at stride 1: choose"
  with pytest.raises(ValueError, match=message):
    make_anchors(1, 1, stride=1, scales=SCALES, ratios=(1.0, 0.5))


@pytest.mark.parametrize(("scales", "ratios"), [((0.0,), (1.0,)), ((8.0,), (-1.0,))])
def test_scales_and_ratios_that_are_not_above_0_are_an_error(scales, ratios):
  with pytest.raises(ValueError, match="each must be above 0"):
    make_anchors(1, 1, stride=16, scales=scales, ratios=ratios)
