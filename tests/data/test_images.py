"""Image files of every kind to RGB."""

from concurrent.futures import ThreadPoolExecutor
import io
import os
import struct
import warnings
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest

from mnc_jax.data.images import decode_image, encode_png, open_image, read_image
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
      with pytest.raises(BrokenImageError, match="cannot be decoded: image file is truncated"):
        decode_image(jpeg[:-missing], "x")


def test_too_many_pixels():
  def chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
  header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
  png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9)))
  with pytest.raises(BrokenImageError, match="x claims 10000000000 pixels, more than 134217728"):
    decode_image(png + chunk(b"IEND", b""), "x")


def test_only_regular_files_are_opened(tmp_path):
  os.mkfifo(tmp_path / "pipe.png")  # Reading it would wait for ever.
  with pytest.raises(BrokenImageError, match=r"pipe\.png: not a regular file"):
    read_image(tmp_path / "pipe.png")
  with (tmp_path / "sparse.png").open("wb") as file:
    file.truncate(2 ** 33)
  with pytest.raises(BrokenImageError, match=r"sparse\.png: it has 8589934592 bytes, more than"):
    read_image(tmp_path / "sparse.png")


def _encode(image, suffix, **options):
  file = io.BytesIO()
  image.save(file, suffix, **options)
  return file.getvalue()


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".ppm"])
def test_16_bits_keep_the_upper_8(suffix):
  deep = np.random.default_rng(2).integers(0, 2 ** 16, (64, 64, 3), dtype=np.uint16)
  found = decode_image(cv2.imencode(suffix, deep)[1].tobytes(), "x").astype(int)
  assert np.abs(found - deep[..., ::-1] / 257).max() < 1
  grey = decode_image(cv2.imencode(suffix.replace("ppm", "pgm"), deep[..., 0])[1].tobytes(), "x")
  np.testing.assert_array_equal(grey, np.rint(deep[..., :1] / 257).repeat(3, axis=2))


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".jpg", ".ppm", ".tiff", ".gif"])
def test_other_formats(suffix):
  encoded = cv2.imencode(suffix, NOISE)[1].tobytes()
  assert open_image(encoded).size == (64, 64)
  expected = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
  np.testing.assert_array_equal(decode_image(encoded, "x"), expected)


def test_palette_cmyk_one_bit_and_grey_with_alpha():
  image = PIL.Image.fromarray(NOISE)
  palette = image.quantize(7)
  expected = np.array(palette.getpalette()).reshape(-1, 3)[np.asarray(palette)]
  for options in ({}, {"transparency": 3}):
    found = decode_image(_encode(palette, "PNG", **options), "x")
    np.testing.assert_array_equal(found, expected)
  smooth = PIL.Image.fromarray(cv2.GaussianBlur(NOISE, (0, 0), 9))
  ink = _encode(smooth.convert("CMYK"), "JPEG", quality=95)
  assert np.abs(decode_image(ink, "x").astype(int) - np.asarray(smooth)).max() < 16
  bits = image.convert("1")
  np.testing.assert_array_equal(decode_image(_encode(bits, "PNG"), "x")[..., 1],
                                np.asarray(bits) * 255)
  with_alpha = PIL.Image.fromarray(np.ascontiguousarray(NOISE[..., :2]), "LA")
  np.testing.assert_array_equal(decode_image(_encode(with_alpha, "PNG"), "x"),
                                NOISE[..., :1].repeat(3, axis=2))


def test_alpha_does_not_change_the_colours_of_a_tiff():
  # OpenCV multiplied them.
  with_alpha = np.dstack([NOISE, NOISE[..., :1]])
  encoded = _encode(PIL.Image.fromarray(with_alpha), "TIFF")
  np.testing.assert_array_equal(decode_image(encoded, "x"), NOISE)


@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_tag_is_ignored(suffix):
  exif, image = PIL.Image.Exif(), PIL.Image.fromarray(NOISE[:30])
  exif[274] = 6
  tagged, plain = _encode(image, suffix, exif=exif), _encode(image, suffix)
  assert tagged != plain
  np.testing.assert_array_equal(decode_image(tagged, "x"), decode_image(plain, "x"))


@pytest.mark.parametrize("suffix", ["GIF", "TIFF"])
def test_of_several_frames_the_first_is_read(suffix):
  frames = [PIL.Image.new("RGB", (6, 4), color) for color in ((255, 0, 0), (0, 255, 0))]
  encoded = _encode(frames[0], suffix, save_all=True, append_images=frames[1:])
  assert (decode_image(encoded, "x") == (255, 0, 0)).all()


@pytest.mark.parametrize("pixels", [np.float32(RGB[..., 0]), np.int32(RGB[..., 0])])
def test_32_bits_are_rejected(pixels):
  with pytest.raises(BrokenImageError, match="image x has pixels of 32 bits; 8 and 16 bits are"):
    decode_image(_encode(PIL.Image.fromarray(pixels), "TIFF"), "x")


def test_formats_that_start_programs_are_rejected():
  with pytest.raises(BrokenImageError, match="not an image, or damaged"):
    decode_image(_encode(PIL.Image.fromarray(RGB), "EPS"), "x")


def test_images_read_in_many_threads_leave_the_filters_of_warnings_alone():
  encoded, before = cv2.imencode(".png", NOISE)[1].tobytes(), list(warnings.filters)
  with ThreadPoolExecutor(8) as threads:
    sizes = threads.map(lambda one: open_image(one).size, [encoded] * 400)
    assert set(sizes) == {(64, 64)}
  assert warnings.filters == before


def test_photographs_have_the_pixels_that_opencv_finds(shared_dir):
  paths = sorted((shared_dir / "data" / "coco_mini" / "val").glob("*.jpg"))[:40]
  for path in paths:
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path))[..., ::-1])
  assert len(paths) == 40
