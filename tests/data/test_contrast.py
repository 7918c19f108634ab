"""Contrast of 8 and 16 bits, by numbers worked out by hand."""

import numpy as np
import pytest

from mnc_jax.config import DataConfig
from mnc_jax.data import contrast


def test_contrast_by_hand():
  # Of 2001 sorted values percentile 1 is number 20, of the 7th pixel of three equal channels,
  # and percentile 99.8 number 1996, of the last pixel but one.
  ramp = np.linspace(50, 150, 660).round()
  values = np.concatenate([[10] * 6, ramp, [255]]).astype(np.uint8)
  image = np.random.default_rng(0).permutation(values).reshape(23, 29, 1).repeat(3, axis=2)
  found = contrast.stretch_contrast(image)
  for before, after in ((10, 0), (50, 0), (51, 3), (70, 51), (90, 102), (110, 153), (150, 255),
                        (255, 255)):
    assert (image == before).any()
    assert (found[image == before] == after).all(), before
  assert found.dtype == np.uint8


def test_contrast_keeps_colours_and_flat_images():
  image = np.zeros((10, 10, 3), np.uint8)
  image[:5] = [100, 60, 0]
  # One table for all channels: 100 becomes 255 and 60 six tenths of it.
  assert contrast.stretch_contrast(image)[0, 0].tolist() == [255, 153, 0]
  flat = np.full((40, 40, 3), 7, np.uint8)
  np.testing.assert_array_equal(contrast.stretch_contrast(flat), flat)
  flat[20, 20] = 15  # Noise, beyond percentile 99.8.
  np.testing.assert_array_equal(contrast.stretch_contrast(flat), flat)


@pytest.mark.parametrize(("dtype", "background", "spot"), [
    (np.uint8, 0, 30), (np.uint16, 0, 300), (np.uint16, 200, 1000)])
def test_few_bright_pixels_on_a_background_are_stretched(dtype, background, spot):
  image = np.full((100, 100, 3), background, dtype)
  image[40, 40:43] = spot  # Beyond percentile 99.8.
  image[40, 43] = background + (spot - background) // 5
  found = contrast.stretch_contrast(image)
  assert found.dtype == np.uint8
  assert found[40, 39:45, 0].tolist() == [0, 255, 255, 255, 51, 0]
  assert found[40, 40:43].min() == 255 and found.sum() == 3 * (3 * 255 + 51)


@pytest.mark.parametrize(("top", "levels"), [(65535, 256), (4095, 256), (1023, 256), (300, 256)])
def test_contrast_is_stretched_before_16_bits_become_8(top, levels):
  # The same ramp at any exposure: 8 bits alone would leave 17, 5 and 2 levels of the darker ones.
  ramp = np.linspace(0, 1, 40_000).reshape(200, 200, 1).repeat(3, axis=2)
  found = contrast.stretch_contrast(np.rint(ramp * top).astype(np.uint16))
  assert found.dtype == np.uint8
  assert len(np.unique(found)) == levels
  expected = np.clip((ramp - 0.01) / 0.988, 0, 1) * 255
  np.testing.assert_allclose(found, expected, atol=0.5 + 255 / 0.988 / top)


def test_16_bits_without_stretching_are_scaled():
  image = np.array([[[0, 128, 129], [65535, 257, 514]]], np.uint16)
  found = contrast.adapt_image(image, DataConfig())
  assert found.dtype == np.uint8
  assert found.tolist() == [[[0, 0, 1], [255, 1, 2]]]
  flat = np.full((4, 4, 3), 4095, np.uint16)
  assert (contrast.stretch_contrast(flat) == 16).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3), (640, 480)])
def test_share_of_the_range(shape):
  image = np.random.default_rng(0).uniform(1000, 1000 + 0.2 * 65535, shape)
  image = image.astype(np.uint16)[..., None].repeat(3, axis=2)
  share = contrast.range_share(image)
  low, high = np.percentile(image, (1, 99.8))
  np.testing.assert_allclose(share, (high - low) / 65535, atol=0.01)
  assert contrast.range_share(np.full((9, 9, 3), 7, np.uint8)) == 0


def test_contrast_is_an_option():
  image = np.random.default_rng(0).integers(0, 64, (20, 30, 3), dtype=np.uint8)
  np.testing.assert_array_equal(contrast.adapt_image(image, DataConfig()), image)
  np.testing.assert_array_equal(
      contrast.adapt_image(image, DataConfig(stretch_contrast=True)),
      contrast.stretch_contrast(image))
