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
import PIL.ImageOps
import pytest

from helpers.tiff_files import make_tiff
from mnc_jax.data.images import (
  ImageOptions,
  decode,
  decode_image,
  encode_png,
  read_image,
  to_8_bits,
)
from mnc_jax.data.opening import open_image
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
  np.testing.assert_array_equal(to_8_bits(decode_image(_png(deep), "x")), RGB)


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


def _join_chunks(*chunks):
  """Returns a PNG of pairs (kind, content)."""
  def join(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
  return b"\x89PNG\r\n\x1a\n" + b"".join(join(*chunk) for chunk in (*chunks, (b"IEND", b"")))


def test_too_many_pixels():
  header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
  png = _join_chunks((b"IHDR", header), (b"IDAT", zlib.compress(bytes(9))))
  with pytest.raises(BrokenImageError, match="x claims 10000000000 pixels, more than 134217728"):
    decode_image(png, "x")


def test_deep_frames_after_the_first_are_rejected():
  """OpenCV, which reads all 16 bits, reads the first frame alone."""
  def frame(color):
    return zlib.compress((b"\0" + struct.pack(">3H", *color) * 4) * 4)  # Rows of filter 0.
  def control(number):
    return struct.pack(">IIIIIHHBB", number, 4, 4, 0, 0, 1, 10, 0, 0)
  png = _join_chunks(
      (b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)), (b"acTL", struct.pack(">II", 2, 0)),
      (b"fcTL", control(0)), (b"IDAT", frame((60000, 300, 0))),
      (b"fcTL", control(1)), (b"fdAT", struct.pack(">I", 2) + frame((0, 300, 60000))))
  found = decode(png, "x", options=ImageOptions(page=1))
  np.testing.assert_array_equal(found.pixels[0, 0], [60000, 300, 0])
  with pytest.raises(BrokenImageError, match="image x has frames of 16 bits, of which the first"):
    decode(png, "x", options=ImageOptions(page=2))


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
def test_16_bits_are_kept(suffix):
  deep = np.random.default_rng(2).integers(0, 2 ** 16, (64, 64, 3), dtype=np.uint16)
  found = decode_image(cv2.imencode(suffix, deep[..., ::-1])[1].tobytes(), "x")
  np.testing.assert_array_equal(found, deep)
  np.testing.assert_array_equal(to_8_bits(found), np.rint(deep / 257))
  grey = decode_image(cv2.imencode(suffix.replace("ppm", "pgm"), deep[..., 0])[1].tobytes(), "x")
  np.testing.assert_array_equal(grey, deep[..., :1].repeat(3, axis=2))


def test_a_ppm_of_12_bits_has_the_range_of_16():
  # A comment in the header, as GIMP writes it; 4095 is white.
  encoded = b"P6\n# GIMP\n2 1\n4095\n" + np.array([0, 1, 4095, 2048, 16, 4094], ">u2").tobytes()
  np.testing.assert_array_equal(decode_image(encoded, "x"),
                                [[[0, 16, 65535], [32776, 256, 65519]]])


@pytest.mark.parametrize(("bits", "scale"), [(8, 1), (12, 65535 / 4095), (16, 1)])
@pytest.mark.parametrize("deflate", [False, True])
def test_zero_is_white_at_each_depth(bits, scale, deflate):
  dtype = np.uint8 if bits == 8 else np.uint16
  stored = np.random.default_rng(3).integers(0, 2 ** bits, (10, 16, 1)).astype(dtype)
  black = decode_image(make_tiff([stored], bits=bits, deflate=deflate), "x")
  np.testing.assert_array_equal(black[..., 0], np.rint(stored[..., 0] * scale))
  white = decode_image(make_tiff([stored], photometric=0, bits=bits, deflate=deflate), "x")
  np.testing.assert_array_equal(white, np.iinfo(dtype).max - black)


def test_zero_is_white_in_one_bit():
  bits = PIL.Image.fromarray(np.eye(8, dtype=bool))
  encoded = _encode(bits, "TIFF", tiffinfo={262: 0})
  np.testing.assert_array_equal(decode_image(encoded, "x")[..., 0] == 0, ~np.eye(8, dtype=bool))


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


# An F, which no turn or reflection maps to itself, in the eight ways that a camera stores it.
UPRIGHT = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]], np.uint8)
STORED = {1: UPRIGHT, 2: UPRIGHT[:, ::-1], 3: UPRIGHT[::-1, ::-1], 4: UPRIGHT[::-1],
          5: UPRIGHT.T, 6: np.rot90(UPRIGHT), 7: UPRIGHT[::-1, ::-1].T, 8: np.rot90(UPRIGHT, 3)}


@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_read_upright(suffix, orientation):
  exif = PIL.Image.Exif()
  exif[274] = orientation
  pixels = STORED[orientation].repeat(16, axis=0).repeat(16, axis=1) * 255
  image = PIL.Image.fromarray(np.stack([pixels] * 3, axis=2))
  encoded = _encode(image, suffix, exif=exif)
  found = decode(encoded, "x")
  assert found.orientation == orientation
  np.testing.assert_array_equal(found.pixels[8::16, 8::16, 0] > 127, UPRIGHT)
  with PIL.Image.open(io.BytesIO(encoded)) as opened:
    expected = PIL.ImageOps.exif_transpose(opened)
    np.testing.assert_array_equal(found.pixels, np.asarray(expected.convert("RGB")))
  stored = decode_image(encoded, "x", options=ImageOptions(exif="stored"))
  np.testing.assert_array_equal(stored[8::16, 8::16, 0] > 127, STORED[orientation])


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_that_do_not_exist_are_ignored(value):
  exif = PIL.Image.Exif()
  exif[274] = value
  found = decode(_encode(PIL.Image.fromarray(NOISE[:30]), "PNG", exif=exif), "x")
  assert found.orientation == 1
  np.testing.assert_array_equal(found.pixels, NOISE[:30])


@pytest.mark.parametrize(("suffix", "word"), [("GIF", "frames"), ("PNG", "frames"),
                                              ("TIFF", "pages")])
def test_one_of_several_pages_is_chosen(suffix, word):
  colors = ((255, 0, 0), (0, 255, 0))
  frames = [PIL.Image.new("RGB", (6, 4), color) for color in colors]
  encoded = _encode(frames[0], suffix, save_all=True, append_images=frames[1:])
  with pytest.raises(BrokenImageError, match=f"image x has 2 {word}: choose one with data.page "):
    decode_image(encoded, "x")
  for page, color in enumerate(colors, 1):
    found = decode_image(encoded, "x", options=ImageOptions(page=page))
    np.testing.assert_array_equal(found, np.broadcast_to(color, (4, 6, 3)))
  with pytest.raises(BrokenImageError, match=rf"has 2 {word[:-1]}\(s\), but data.page is 3"):
    decode_image(encoded, "x", options=ImageOptions(page=3))


def test_channels_are_chosen():
  with_alpha = _encode(PIL.Image.fromarray(np.dstack([NOISE, NOISE[..., 0]])), "PNG")
  green = decode_image(with_alpha, "x", options=ImageOptions(channels=(2,)))
  np.testing.assert_array_equal(green, NOISE[..., 1:2].repeat(3, axis=2))
  mirrored = decode_image(with_alpha, "x", options=ImageOptions(channels=(3, 2, 1)))
  np.testing.assert_array_equal(mirrored, NOISE[..., ::-1])
  with pytest.raises(BrokenImageError, match=r"has 1 channel\(s\), but data.channels is \(2,\)"):
    decode_image(_png(NOISE[..., 0]), "x", options=ImageOptions(channels=(2,)))


def test_heic_names_what_to_install(monkeypatch):
  monkeypatch.setattr("mnc_jax.data.opening.reads_heic", lambda: False)
  with pytest.raises(BrokenImageError, match="x is in HEIC, which needs the package pillow-heif"):
    decode_image(b"\0\0\0\x18ftypheic" + bytes(99), "x")


@pytest.mark.parametrize("pixels", [np.float32(RGB[..., 0]), np.int32(RGB[..., 0])])
def test_32_bits_are_rejected(pixels):
  with pytest.raises(BrokenImageError, match="image x has pixels of 32 bits; whole numbers of 8 .*"
                                             r": save it with 16 .*pixels\.astype\('uint16'\)"):
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


@pytest.mark.parametrize("step", ["PIL.ImageFile.ImageFile.load", "mnc_jax.data.images.turn"])
def test_an_image_larger_than_memory_is_not_called_damaged(monkeypatch, step):
  def load(*arguments):
    raise MemoryError

  monkeypatch.setattr(step, load)
  with pytest.raises(BrokenImageError, match="^image x does not fit into memory: cut it into sm"):
    decode_image(encode_png(RGB), "x")
