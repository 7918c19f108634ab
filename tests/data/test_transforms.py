"""Resize, box masks, flip and padding, by numbers worked out by hand."""

import cv2
import numpy as np
import pytest

from mnc_jax.data import transforms
from mnc_jax.data.records import Record


def _record(height=20, width=30):
  masks = np.zeros((2, height, width), np.uint8)
  masks[0, 4:10, 6:18] = 1
  masks[1, 2:18, 3] = 1
  masks[1, 17, 3:11] = 1  # An L.
  image = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
  return Record(5, image, masks, np.array([2, 1], np.int32), np.array([False, True]))


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
