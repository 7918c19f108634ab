"""Pages and channels of TIFF files that Pillow alone does not read."""

import itertools

import numpy as np
import pytest

from helpers.tiff_files import make_tiff
from mnc_jax.data import tiff, tiff_samples
from mnc_jax.data.images import ImageOptions, decode_image
from mnc_jax.data.records import BrokenImageError

_RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("order", "big", "planar"),
                         [*itertools.product("<>", (False, True), (False, True))])
def test_samples_of_every_arrangement(order, big, planar):
  for compression, channels, dtype, tile in itertools.product(
      ({}, {"deflate": True}, {"deflate": True, "predictor": True}), (1, 2, 5),
      (np.uint8, np.uint16), (0, 16)):
    samples = _RNG.integers(0, np.iinfo(dtype).max, (30, 41, channels)).astype(dtype)
    encoded = make_tiff([samples], order=order, big=big, planar=planar, tile=tile, **compression)
    page, = tiff.read_pages(encoded)
    np.testing.assert_array_equal(tiff_samples.read_planes(encoded, page), samples)


@pytest.mark.parametrize("big", [False, True])
def test_pages(big):
  pages = [_RNG.integers(0, 255, (8, 16, 1)).astype(np.uint8) for _ in range(3)]
  encoded = make_tiff(pages, big=big)
  with pytest.raises(BrokenImageError, match="image x has 3 pages: choose one with data.page"):
    decode_image(encoded, "x")
  for number, page in enumerate(pages, 1):
    found = decode_image(encoded, "x", options=ImageOptions(page=number))
    np.testing.assert_array_equal(found[..., :1], page)


@pytest.mark.parametrize("smaller", [{254: (1,)}, {254: (4,)}, {255: (2,)}])
def test_thumbnails_and_masks_are_no_pages(smaller):
  pages = [np.full((side, side, 1), side, np.uint8) for side in (16, 8)]
  assert (decode_image(make_tiff(pages, tags=({}, smaller)), "x") == 16).all()
  # Nor if they come first.
  assert (decode_image(make_tiff(pages[::-1], tags=(smaller, {})), "x") == 16).all()


def test_an_imagej_stack_with_one_directory():
  slices = _RNG.integers(0, 2 ** 16, (3, 8, 16), dtype=np.uint16)
  text = b"ImageJ=1.54f\nimages=3\nchannels=3\n"
  encoded = make_tiff([slices[0][..., None]], tags=({270: tuple(text)},))
  # The other slices follow the first; its directory has to be behind them.
  one_page = make_tiff([slices.reshape(24, 16, 1)],
                       tags=({270: tuple(text), 257: (8,), 278: (8,), 279: (256,)},))
  assert len(tiff.read_pages(encoded)) < 3  # It ends before the third.
  with pytest.raises(BrokenImageError, match="has 3 pages"):
    decode_image(one_page, "x")
  for number, expected in enumerate(slices, 1):
    found = decode_image(one_page, "x", options=ImageOptions(page=number))
    np.testing.assert_array_equal(found[..., 0], expected)


@pytest.mark.parametrize(("channels", "photometric", "planar"),
                         [(2, 1, False), (3, 1, False), (5, 1, True), (5, 2, False)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_channels_that_are_no_colours(channels, photometric, planar, dtype):
  samples = _RNG.integers(0, np.iinfo(dtype).max, (8, 16, channels)).astype(dtype)
  encoded = make_tiff([samples], photometric=photometric, planar=planar)
  with pytest.raises(BrokenImageError, match=f"image x has {channels} channels: choose one"):
    decode_image(encoded, "x")
  for number in range(channels):
    found = decode_image(encoded, "x", options=ImageOptions(channels=(number + 1,)))
    np.testing.assert_array_equal(found, samples[..., [number]].repeat(3, axis=2))


def test_alpha_is_no_channel():
  samples = _RNG.integers(0, 2 ** 16, (8, 16, 4), dtype=np.uint16)
  for kept, photometric in ((1, 1), (3, 2)):
    encoded = make_tiff([samples[..., :kept + 1]], photometric=photometric, extra=(2,))
    found = decode_image(encoded, "x")
    np.testing.assert_array_equal(found, np.broadcast_to(samples[..., :kept], (8, 16, 3)))


@pytest.mark.parametrize("stored", [
    {}, {"tile": 16}, {"deflate": True}, {"deflate": True, "predictor": True}])
@pytest.mark.parametrize(("channels", "photometric", "dtype"), [
    (1, 1, np.uint8), (1, 1, np.uint16), (1, 0, np.uint8), (3, 2, np.uint8), (3, 2, np.uint16)])
def test_a_big_endian_bigtiff_is_read_as_a_classic_tiff(stored, channels, photometric, dtype):
  samples = _RNG.integers(0, np.iinfo(dtype).max, (30, 41, channels)).astype(dtype)
  tags = ({274: (6,), 270: tuple(b"text")},)
  found = decode_image(make_tiff([samples], photometric=photometric, order=">", big=True,
                                 tags=tags, **stored), "x")
  expected = samples if photometric else np.iinfo(dtype).max - samples
  np.testing.assert_array_equal(found, np.broadcast_to(np.rot90(expected, -1), (41, 30, 3)))


def test_pages_and_palettes_of_a_big_endian_bigtiff():
  pages = [_RNG.integers(0, 256, (8, 16, 1), dtype=np.uint8) for _ in range(3)]
  colors = _RNG.integers(0, 256, (256, 3))
  tags = {320: tuple((colors.T.ravel() * 257).tolist())}
  encoded = make_tiff(pages, photometric=3, order=">", big=True, tags=(tags,) * 3)
  for number, page in enumerate(pages, 1):
    found = decode_image(encoded, "x", options=ImageOptions(page=number))
    np.testing.assert_array_equal(found, colors[page[..., 0]])


def test_a_big_endian_bigtiff_with_jpeg_inside_is_named():
  encoded = make_tiff([np.zeros((8, 8, 1), np.uint8)], order=">", big=True, tags=({259: (7,)},))
  with pytest.raises(BrokenImageError, match="image x is a big-endian BigTIFF with JPEG inside"):
    decode_image(encoded, "x")


def test_a_big_endian_bigtiff_that_is_damaged():
  encoded = make_tiff([np.zeros((8, 8, 1), np.uint8)], order=">", big=True,
                      tags=({278: (2 ** 40,)},))
  with pytest.raises(BrokenImageError, match="image x cannot be decoded: damaged, with tags of"):
    decode_image(encoded, "x")


@pytest.mark.parametrize(("dtype", "kind", "words"), [
    (np.int64, 2, "pixels of 64"), (np.float64, 3, "pixels of 64"), (np.uint32, 1, "pixels of 32"),
    (np.float16, 3, "floats of 16")])
@pytest.mark.parametrize("order", ["<", ">"])
def test_images_of_more_bits_are_named(dtype, kind, words, order):
  encoded = make_tiff([np.zeros((8, 8, 1), dtype)], order=order, tags=({339: (kind,)},))
  with pytest.raises(BrokenImageError, match=f"image x has {words} bits; whole numbers of 8 and"):
    decode_image(encoded, "x")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_16_bit_colours_are_turned_as_8_bit_ones(orientation):
  eight = _RNG.integers(0, 256, (8, 16, 3)).astype(np.uint8)
  deep = eight.astype(np.uint16) * 257
  for options in (ImageOptions(), ImageOptions(exif="stored")):
    tags = ({274: (orientation,)},)
    found, expected = (
        decode_image(make_tiff([pixels], photometric=2, tags=tags), "x", options=options)
        for pixels in (deep, eight))
    np.testing.assert_array_equal(found, expected.astype(np.uint16) * 257)


def test_a_directory_outside_of_the_file():
  encoded = make_tiff([np.zeros((8, 8, 1), np.uint8)])
  for damaged in (encoded[:4] + b"\xff\xff\0\0" + encoded[8:], encoded[:20], encoded[:-8]):
    with pytest.raises(BrokenImageError, match="image x cannot be decoded"):
      decode_image(damaged, "x")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
def test_signed_samples_are_read_unless_they_are_negative(order, bits, dtype):
  pixels = _RNG.integers(0, 2 ** (bits - 1), (8, 16, 1), dtype=dtype)
  tags = {339: (2,)}, {339: (2,), 274: (6,)}
  for stored in ({}, {"tile": 16}, {"deflate": True}, {"deflate": True, "predictor": True}):
    found = decode_image(make_tiff([pixels], order=order, tags=tags[:1], **stored), "x")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, pixels.repeat(3, axis=2))
  turned = decode_image(make_tiff([pixels], order=order, tags=tags[1:]), "x")
  np.testing.assert_array_equal(turned, np.rot90(found, -1))
  pixels[0, :2, 0] = 2 ** bits - 5, 2 ** (bits - 1) - 1
  with pytest.raises(BrokenImageError, match=(
      f"x has signed pixels, from -5 to {2 ** (bits - 1) - 1}: add .* of {bits} bits")):
    decode_image(make_tiff([pixels], order=order, tags=tags[:1]), "x")
