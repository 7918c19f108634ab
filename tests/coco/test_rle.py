"""Masks as RLE: whole and in windows, equal to those of pycocotools."""

import numpy as np
from pycocotools import mask as mask_api

from mnc_jax.coco import rle as module
from mnc_jax.coco.rle import (
  decode_masks,
  decode_tight,
  decode_window,
  encode_mask,
  encode_masks,
  encode_window,
)


def test_masks_in_a_window_equal_pycocotools():
  rng = np.random.default_rng(0)
  for _ in range(60):
    size = int(rng.integers(1, 30)), int(rng.integers(1, 30))
    low = rng.integers(0, np.add(size, 1))
    high = rng.integers(low, np.add(size, 1))
    window = slice(*map(int, (low[0], high[0]))), slice(*map(int, (low[1], high[1])))
    whole = np.zeros(size, np.uint8, order="F")
    whole[window] = rng.random(high - low) < rng.choice([0.1, 0.5, 0.9, 1])
    assert encode_window(whole[window], window, size) == encode_mask(whole)


def test_the_part_of_a_mask_in_a_window_equals_that_of_the_whole():
  rng = np.random.default_rng(1)
  for _ in range(60):
    size = rng.integers(1, 30, 2)
    low = rng.integers(0, size)
    high = rng.integers(low, size + 1)
    window = slice(*map(int, (low[0], high[0]))), slice(*map(int, (low[1], high[1])))
    whole = (rng.random(size) < rng.choice([0, 0.1, 0.5, 0.9, 1])).astype(np.uint8)
    part = decode_window(encode_mask(whole), window)
    np.testing.assert_array_equal(part, whole[window])
    assert (part.dtype, part.flags.c_contiguous) == (np.uint8, True)


def test_the_tight_part_of_a_mask_is_its_ones_and_their_window():
  whole = np.zeros((6, 8), np.uint8)
  whole[2:5, 3] = whole[3, 3:7] = 1
  part, window = decode_tight(encode_mask(whole))
  assert window == (slice(2, 5), slice(3, 7))
  assert part.tolist() == [[1, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
  part, window = decode_tight(encode_mask(np.zeros((6, 8), np.uint8)))
  assert part.shape == (0, 0) and window == (slice(0, 0), slice(0, 0))


def test_masks_equal_those_that_were_encoded():
  rng = np.random.default_rng(2)
  for _ in range(60):
    shape = rng.integers([0, 1, 1], [5, 30, 30])
    share = rng.choice([0, 0.02, 0.5, 0.98, 1], shape[0])[:, None, None]
    masks = (rng.random(shape) < share).astype(np.uint8)
    found = decode_masks(encode_masks(masks) if len(masks) else [], masks.shape[1:])
    np.testing.assert_array_equal(found, masks, strict=True)
    assert found.flags.c_contiguous


def test_masks_of_pycocotools_itself_are_decoded():
  mask = np.zeros((4, 6), np.uint8, order="F")
  mask[1:3, 2:5] = 1
  rle = mask_api.encode(mask)
  assert isinstance(rle["counts"], bytes)
  np.testing.assert_array_equal(decode_masks([rle], (4, 6))[0], mask)


def test_masks_are_decoded_only_where_they_are(monkeypatch):
  masks, windows = np.zeros((2, 9, 12), np.uint8), []
  masks[0, 2:5, 3:10] = 1  # The other one is empty.
  def decode(rle, window):
    windows.append(window)
    return decode_window(rle, window)
  monkeypatch.setattr(module, "decode_window", decode)
  np.testing.assert_array_equal(decode_masks(encode_masks(masks), (9, 12)), masks)
  assert windows == [(slice(2, 5), slice(3, 10)), (slice(0, 0), slice(0, 0))]
