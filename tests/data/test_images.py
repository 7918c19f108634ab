"""Image files of every kind to RGB."""

import cv2
import numpy as np
import pytest

from mnc_jax.data.images import decode_image, encode_png, read_image
from mnc_jax.data.source import BrokenImageError

RGB = np.array([[[250, 10, 20], [1, 2, 3]], [[0, 0, 255], [7, 77, 177]]], np.uint8)


def _png(array):
  return cv2.imencode(".png", array)[1].tobytes()


def test_colour_order():
  np.testing.assert_array_equal(decode_image(encode_png(RGB), "x"), RGB)


def test_gray_alpha_and_16_bits():
  gray = RGB[..., 0]
  np.testing.assert_array_equal(decode_image(_png(gray), "x"), np.stack([gray] * 3, axis=2))
  with_alpha = np.concatenate([RGB[..., ::-1], np.full((2, 2, 1), 9, np.uint8)], axis=2)
  np.testing.assert_array_equal(decode_image(_png(with_alpha), "x"), RGB)
  deep = RGB[..., ::-1].astype(np.uint16) * 257
  np.testing.assert_array_equal(decode_image(_png(deep), "x"), RGB)


@pytest.mark.parametrize("content", [b"", b"not an image", _png(RGB)[:40]])
def test_unreadable(tmp_path, content):
  path = tmp_path / "bad.png"
  path.write_bytes(content)
  with pytest.raises(BrokenImageError, match=r"bad\.png"):
    read_image(path)


def test_missing_and_cut_off(tmp_path):
  with pytest.raises(BrokenImageError, match=r"gone\.png: No such file"):
    read_image(tmp_path / "gone.png")
  noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
  jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
  assert decode_image(jpeg, "x").shape == (64, 64, 3)
  with pytest.raises(BrokenImageError, match="cut off"):
    decode_image(jpeg[:2000], "x")
