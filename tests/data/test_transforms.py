"""Resize, box masks, flip and padding, by numbers worked out by hand."""

import cv2
import numpy as np
import pytest

from mnc_jax.config import DataConfig
from mnc_jax.data import transforms
from mnc_jax.data.records import Record


def _record(height=20, width=30):
  masks = np.zeros((2, height, width), np.uint8)
  masks[0, 4:10, 6:18] = 1
  masks[1, 2:18, 3] = 1
  masks[1, 17, 3:11] = 1  # An L.
  image = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
  return Record(5, image, masks, np.array([2, 1], np.int32), np.array([False, True]))


def test_scaled_sizes():
  sizes = [(480, 640), (640, 480), (300, 1200), (7, 1000)]
  np.testing.assert_array_equal(
      transforms.scaled_sizes(sizes, 600, 1000), [[600, 800], [800, 600], [250, 1000], [7, 1000]])
  np.testing.assert_allclose(
      transforms.scale_factors(sizes, 600, 1000), [1.25, 1.25, 1000 / 1200, 1.0])


def test_buckets():
  buckets = ((600, 1000), (1000, 600), (640, 640))
  sizes = [(600, 800), (800, 600), (600, 600), (1000, 600)]
  np.testing.assert_array_equal(
      transforms.choose_buckets(sizes, buckets, [1, 2, 3, 4]), [0, 1, 2, 1])
  with pytest.raises(ValueError, match="image 8 is 601 x 1000 .* none of data.buckets"):
    transforms.choose_buckets([(600, 1000), (601, 1000)], ((600, 1000),), [7, 8])


def test_contrast_by_hand():
  # Of 2001 sorted values percentile 1 is number 20, of the 7th pixel of three equal channels,
  # and percentile 99.8 number 1996, of the last pixel but one.
  ramp = np.linspace(50, 150, 660).round()
  values = np.concatenate([[10] * 6, ramp, [255]]).astype(np.uint8)
  image = np.random.default_rng(0).permutation(values).reshape(23, 29, 1).repeat(3, axis=2)
  found = transforms.stretch_contrast(image)
  for before, after in ((10, 0), (50, 0), (51, 3), (70, 51), (90, 102), (110, 153), (150, 255),
                        (255, 255)):
    assert (image == before).any()
    assert (found[image == before] == after).all(), before
  assert found.dtype == np.uint8


def test_contrast_keeps_colours_and_flat_images():
  image = np.zeros((10, 10, 3), np.uint8)
  image[:5] = [100, 60, 0]
  # One table for all channels: 100 becomes 255 and 60 six tenths of it.
  assert transforms.stretch_contrast(image)[0, 0].tolist() == [255, 153, 0]
  flat = np.full((40, 40, 3), 7, np.uint8)
  np.testing.assert_array_equal(transforms.stretch_contrast(flat), flat)
  flat[20, 20] = 15  # Noise, beyond percentile 99.8.
  np.testing.assert_array_equal(transforms.stretch_contrast(flat), flat)


@pytest.mark.parametrize(("dtype", "background", "spot"), [
    (np.uint8, 0, 30), (np.uint16, 0, 300), (np.uint16, 200, 1000)])
def test_few_bright_pixels_on_a_background_are_stretched(dtype, background, spot):
  image = np.full((100, 100, 3), background, dtype)
  image[40, 40:43] = spot  # Beyond percentile 99.8.
  image[40, 43] = background + (spot - background) // 5
  found = transforms.stretch_contrast(image)
  assert found.dtype == np.uint8
  assert found[40, 39:45, 0].tolist() == [0, 255, 255, 255, 51, 0]
  assert found[40, 40:43].min() == 255 and found.sum() == 3 * (3 * 255 + 51)


@pytest.mark.parametrize(("top", "levels"), [(65535, 256), (4095, 256), (1023, 256), (300, 256)])
def test_contrast_is_stretched_before_16_bits_become_8(top, levels):
  # The same ramp at any exposure: 8 bits alone would leave 17, 5 and 2 levels of the darker ones.
  ramp = np.linspace(0, 1, 40_000).reshape(200, 200, 1).repeat(3, axis=2)
  found = transforms.stretch_contrast(np.rint(ramp * top).astype(np.uint16))
  assert found.dtype == np.uint8
  assert len(np.unique(found)) == levels
  expected = np.clip((ramp - 0.01) / 0.988, 0, 1) * 255
  np.testing.assert_allclose(found, expected, atol=0.5 + 255 / 0.988 / top)


def test_16_bits_without_stretching_are_scaled():
  image = np.array([[[0, 128, 129], [65535, 257, 514]]], np.uint16)
  found = transforms.adapt_image(image, DataConfig())
  assert found.dtype == np.uint8
  assert found.tolist() == [[[0, 0, 1], [255, 1, 2]]]
  flat = np.full((4, 4, 3), 4095, np.uint16)
  assert (transforms.stretch_contrast(flat) == 16).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3), (640, 480)])
def test_share_of_the_range(shape):
  image = np.random.default_rng(0).uniform(1000, 1000 + 0.2 * 65535, shape)
  image = image.astype(np.uint16)[..., None].repeat(3, axis=2)
  share = transforms.range_share(image)
  low, high = np.percentile(image, (1, 99.8))
  np.testing.assert_allclose(share, (high - low) / 65535, atol=0.01)
  assert transforms.range_share(np.full((9, 9, 3), 7, np.uint8)) == 0


def test_contrast_is_an_option():
  image = _record().image // 4
  np.testing.assert_array_equal(transforms.adapt_image(image, DataConfig()), image)
  np.testing.assert_array_equal(
      transforms.adapt_image(image, DataConfig(stretch_contrast=True)),
      transforms.stretch_contrast(image))


def test_resized_boxes_and_areas():
  example = transforms.resize_record(_record(), (40, 45))  # Twice as high, 1.5 times as wide.
  assert example.image.shape == (40, 45, 3)
  np.testing.assert_allclose(example.boxes, [[9, 8, 27, 20], [4.5, 4, 16.5, 36]])
  np.testing.assert_allclose(example.areas, [72 * 3, 23 * 3])
  np.testing.assert_array_equal(example.labels, [2, 1])
  np.testing.assert_array_equal(example.crowd, [False, True])


def test_masks_in_their_boxes():
  masks = transforms.resize_record(_record(), (20, 30)).masks
  assert masks.shape == (2, 112, 112)
  assert masks.dtype == np.uint8
  assert masks[0].all()
  # The L is 8 wide and 16 high: its left column takes 14 of 112 cells, its foot 7 rows.
  np.testing.assert_allclose(masks[1, :100].mean(axis=0)[[0, 10, 20, 100]], [1, 1, 0, 0])
  np.testing.assert_allclose(masks[1].mean(), 23 / 128, atol=0.01)
  assert masks[1, -5:].all()


def test_large_masks_are_averaged():
  # Stripes of one pixel are a half everywhere when four of them share a cell.
  mask = np.zeros((1, 448, 448), np.uint8)
  mask[:, :, :224] = 1
  mask[0, 0, 447] = 1
  crop = transforms.crop_masks(mask, transforms.tight_boxes(mask))[0]
  assert crop[:, :56].all()
  assert not crop[:, 56:].any()


@pytest.mark.parametrize("knob", [0, 60])
@pytest.mark.parametrize("width", [5, 7, 9])
def test_a_thin_diagonal_keeps_its_course(width, knob):
  """Of cells of 27 x 27 pixels it fills .31, .43 or .53; a knob fills some in the middle."""
  mask = cv2.line(np.zeros((3000, 3000), np.uint8), (0, 0), (2999, 2999), 1, width)
  cv2.circle(mask, (1500, 1500), knob, 1, -1)
  crop = transforms.crop_masks(mask[None], np.array([[0, 0, 3000, 3000]]))[0]
  rows, columns = np.nonzero(crop)
  assert abs(rows - columns).max() <= (3 if knob else 0)
  assert set(rows) == set(range(112))
  assert crop.sum() == (112 if not knob else 124)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_long_box_is_resampled_by_areas_along_its_length(axis):
  """Two parts of 10 pixels at the ends of 3000, between which samples would lie."""
  mask = np.zeros((20, 3000), np.uint8)
  mask[:, :10] = mask[:, -10:] = 1
  mask = np.moveaxis(mask, 0, axis)
  crop = transforms.crop_masks(mask[None], np.array([[0, 0, *mask.shape[::-1]]]))[0]
  expected = np.zeros((112, 112), np.uint8)
  expected[:, [0, -1]] = 1
  np.testing.assert_array_equal(np.moveaxis(crop, 0, axis), expected)


def test_empty_mask_is_an_empty_box():
  record = _record()._replace(masks=np.zeros((2, 20, 30), np.uint8))
  example = transforms.resize_record(record, (20, 30))
  np.testing.assert_array_equal(example.boxes, np.zeros((2, 4)))
  assert not example.masks.any()


def test_flip_by_hand_and_twice():
  example = transforms.resize_record(_record(), (20, 30))
  flipped = transforms.flip_example(example)
  np.testing.assert_allclose(flipped.boxes, [[12, 4, 24, 10], [19, 2, 27, 18]])
  np.testing.assert_array_equal(flipped.image[:, 0], example.image[:, -1])
  assert flipped.masks[1, :100, -1].all()
  assert not flipped.masks[1, :100, 0].any()
  for one, other in zip(transforms.flip_example(flipped), example, strict=True):
    np.testing.assert_array_equal(one, other)


def test_keeps_the_largest_in_order():
  example = transforms.resize_record(_record(), (20, 30))
  three = example._replace(**{
      name: np.concatenate([getattr(example, name), getattr(example, name)[:1]])
      for name in transforms.Example._fields[1:]})
  three = three._replace(areas=np.array([5, 1, 9], np.float32))
  largest, boxes = transforms.keep_largest(three, 2)
  np.testing.assert_array_equal(largest.areas, [5, 9])
  np.testing.assert_array_equal(boxes, three.boxes[three.areas < 5])
  assert transforms.keep_largest(three, 3)[0] is three


def test_padding():
  padded = transforms.pad_image(np.ones((2, 3, 3), np.uint8), (4, 5))
  assert padded[:2, :3].all()
  assert padded.sum() == 18
  np.testing.assert_array_equal(transforms.pad_rows(np.ones((1, 2)), 3), [[1, 1], [0, 0], [0, 0]])
