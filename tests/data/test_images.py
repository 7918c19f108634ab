"""Image files of every kind to RGB."""

from concurrent.futures import ThreadPoolExecutor
import os
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest

from mnc_jax.data.images import claimed_pixels, decode_image, encode_png, read_image
from mnc_jax.data.records import BrokenImageError

RGB = np.array([[[250, 10, 20], [1, 2, 3]], [[0, 0, 255], [7, 77, 177]]], np.uint8)


NOISE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)


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
  with pytest.raises(BrokenImageError, match="cannot be decoded"):
    decode_image(_png(NOISE)[:len(_png(NOISE)) // 2], "x")


def _jpeg(progressive, segment=b""):
  """A JPEG of noise, with an application segment after its start."""
  jpeg = cv2.imencode(".jpg", NOISE, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes()
  header = b"\xff\xe1" + struct.pack(">H", len(segment) + 2) if segment else b""
  return jpeg[:2] + header + segment + jpeg[2:]


@pytest.mark.parametrize("progressive", [0, 1])
def test_jpeg_with_data_after_its_end(progressive):
  jpeg = _jpeg(progressive)
  pixels = decode_image(jpeg, "x")
  # As films do, the random bytes hold starts of scans without an end after them.
  tail = np.random.default_rng(1).bytes(100_000) + b"\xff\xda" + bytes(2000)
  np.testing.assert_array_equal(decode_image(jpeg + tail, "x"), pixels)


@pytest.mark.parametrize("progressive", [0, 1])
def test_jpeg_cut_in_half(progressive):
  preview = _jpeg(0)
  for jpeg in (preview, _jpeg(progressive), _jpeg(progressive, preview)):
    assert decode_image(jpeg, "x").shape == (64, 64, 3)
    # Counted from the end, so that a whole preview is left before the cut.
    for missing in (2, len(preview) // 2):
      with pytest.raises(BrokenImageError, match="cut off"):
        decode_image(jpeg[:-missing], "x")


def test_too_many_pixels():
  def chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
  header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
  png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9)))
  with pytest.raises(BrokenImageError, match="x claims 10000000000 pixels, more than 134217728"):
    decode_image(png + chunk(b"IEND", b""), "x")


def test_only_plain_files_are_opened(tmp_path):
  os.mkfifo(tmp_path / "pipe.png")  # Reading it would wait for ever.
  with pytest.raises(BrokenImageError, match=r"pipe\.png: it is no plain file"):
    read_image(tmp_path / "pipe.png")
  with (tmp_path / "sparse.png").open("wb") as file:
    file.truncate(2 ** 33)
  with pytest.raises(BrokenImageError, match=r"sparse\.png: it has 8589934592 bytes, more than"):
    read_image(tmp_path / "sparse.png")


def test_16_bit_tiff_is_still_read():
  # Pillow cannot open it, so its size is found in its tags.
  deep = NOISE.astype(np.uint16) * 257
  tiff = cv2.imencode(".tiff", deep)[1].tobytes()
  np.testing.assert_array_equal(decode_image(tiff, "x"), NOISE[..., ::-1])


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".jpg", ".ppm", ".tiff", ".gif"])
def test_the_size_of_other_formats_is_known(suffix):
  encoded = cv2.imencode(suffix, NOISE)[1].tobytes()
  assert claimed_pixels(encoded) == 64 * 64
  assert decode_image(encoded, "x").shape == (64, 64, 3)


def test_images_read_in_many_threads_leave_the_filters_of_warnings_alone():
  encoded, before = cv2.imencode(".png", NOISE)[1].tobytes(), list(warnings.filters)
  with ThreadPoolExecutor(8) as threads:
    assert set(threads.map(claimed_pixels, [encoded] * 400)) == {64 * 64}
  assert warnings.filters == before
