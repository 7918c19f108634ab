"""Label images of every kind, and their labels as RLE."""

import numpy as np
import PIL.Image
import pytest

from helpers.tiff_files import make_tiff
from mnc_jax.coco.rle import decode_masks, encode_mask
from mnc_jax.data.images import ImageOptions
from mnc_jax.data.readers.label_maps import encode_labels, read_label_map


def test_labels_of_8_and_16_bits(tmp_path):
  labels = np.array([[0, 1, 300], [65535, 0, 256]])
  PIL.Image.fromarray(labels.astype(np.uint16)).save(tmp_path / "16.png")
  np.testing.assert_array_equal(read_label_map(tmp_path / "16.png"), labels)
  PIL.Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "8.png")
  np.testing.assert_array_equal(read_label_map(tmp_path / "8.png"), labels % 256)


def test_of_a_palette_the_indices(tmp_path):
  labels = np.array([[0, 1, 2], [255, 2, 0]], np.uint8)
  image = PIL.Image.fromarray(labels)
  # Black for 0 and for 2: their colours are the same.
  image.putpalette([0, 0, 0, 128, 0, 0, 0, 0, 0] + [7] * 759)
  image.save(tmp_path / "a.png")
  with PIL.Image.open(tmp_path / "a.png") as written:
    assert written.mode == "P"
  np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), labels)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_palette_whose_index_0_is_an_object(tmp_path, suffix):
  colors = np.zeros((20, 20, 3), np.uint8)
  colors[2:6, 2:8], colors[10:15, 3:9] = (255, 255, 0), (0, 0, 255)
  image = PIL.Image.fromarray(colors).quantize()  # Pillow numbers colours, the brightest first.
  assert np.asarray(image)[3, 3] == 0 and np.asarray(image)[0, 0] == 2
  image.save(tmp_path / f"a.{suffix}")
  with pytest.raises(ValueError, match=(
      rf"label image .*a.{suffix} has a palette in which index 0 is the colour \(255, 255, 0\), "
      "and index 2 is black: index 0 is not the background")):
    read_label_map(tmp_path / f"a.{suffix}")


def save_with_palette(path, labels, palette, **options):
  image = PIL.Image.fromarray(np.array(labels, np.uint8))
  image.putpalette(palette)
  image.save(path, **options)


@pytest.mark.parametrize(("palette", "options"), [
    ([0, 0, 0, 9, 9, 9, 0, 0, 0], {}),  # Of VOC: other indices may be black too.
    ([5, 5, 5, 9, 9, 9, 7, 7, 7], {}),  # No index is black.
    ([5, 5, 5, 9, 9, 9, 7, 7, 7, 0, 0, 0], {}),  # The black one is not in use.
    ([5, 5, 5, 9, 9, 9, 0, 0, 0], {"transparency": 0}),
    ([5, 5, 5, 9, 9, 9, 0, 0, 0], {"transparency": b"\0\xff\xff"})])
def test_palettes_whose_index_0_may_be_background(tmp_path, palette, options):
  save_with_palette(tmp_path / "a.png", [[0, 1], [2, 0]], palette, **options)
  np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), [[0, 1], [2, 0]])


def test_white_is_background_in_a_palette_from_white_to_black(tmp_path):
  save_with_palette(tmp_path / "a.png", [[0, 255], [2, 0]], np.arange(256)[::-1].repeat(3).tolist())
  np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), [[0, 255], [2, 0]])


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("mode", [np.uint8, np.uint16])
def test_labels_are_turned_as_images_are(tmp_path, suffix, mode):
  labels, exif = np.array([[0, 1, 2], [3, 0, 0]], mode), PIL.Image.Exif()
  exif[274] = 6
  PIL.Image.fromarray(labels).save(tmp_path / f"a.{suffix}", exif=exif)
  np.testing.assert_array_equal(read_label_map(tmp_path / f"a.{suffix}"),
                                [[3, 0], [0, 1], [0, 2]])
  stored = read_label_map(tmp_path / f"a.{suffix}", options=ImageOptions(exif="stored"))
  np.testing.assert_array_equal(stored, labels)


@pytest.mark.parametrize("mode", [np.uint8, np.uint16])
def test_label_0_is_background_where_0_is_white(tmp_path, mode):
  # As ImageJ writes labels that it shows with an inverted table of colours.
  labels = np.zeros((8, 8, 1), mode)
  labels[2:4, 1:5] = 3
  (tmp_path / "a.tif").write_bytes(make_tiff([labels], photometric=0))
  np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), labels[..., 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_signed_labels_are_read_unless_they_are_negative(tmp_path, dtype):
  labels = np.array([[0, 1, 2], [127, 0, 5]], dtype)[..., None]
  tags = ({339: (2,), 274: (6,)},)
  (tmp_path / "a.tif").write_bytes(make_tiff([labels], tags=tags))
  np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), np.rot90(labels[..., 0], -1))
  labels[0, 0] = np.iinfo(dtype).max
  (tmp_path / "a.tif").write_bytes(make_tiff([labels], tags=tags))
  with pytest.raises(ValueError, match="label image .*a.tif has the label -1, below 0"):
    read_label_map(tmp_path / "a.tif")


@pytest.mark.parametrize(("dtype", "kind"), [
    (np.int64, 2), (np.uint64, 1), (np.float64, 3), (np.float32, 3), (np.float16, 3),
    (np.uint32, 1), (np.int32, 2), (np.uint16, 1), (np.int16, 2), (np.uint8, 1), (np.int8, 2)])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_labels_of_any_type_and_order_of_bytes(tmp_path, dtype, kind, order, big):
  labels = np.arange(30 * 41, dtype=dtype).reshape(30, 41, 1) % dtype(100)
  if np.dtype(dtype).itemsize > 2:
    labels[3, 4] = 70_000
  for stored in ({}, {"tile": 16}, {"deflate": True}, {"deflate": True, "predictor": kind < 3}):
    for photometric in (0, 1):
      (tmp_path / "a.tif").write_bytes(make_tiff(
          [labels], order=order, big=big, photometric=photometric,
          tags=({339: (kind,), 274: (6,)},), **stored))
      np.testing.assert_array_equal(
          read_label_map(tmp_path / "a.tif"), np.rot90(labels[..., 0], -1).astype(np.int32))


def test_labels_of_64_bits_that_are_none(tmp_path):
  labels = np.zeros((8, 8, 1), np.float64)
  for value, message in ((-3, "the label -3.0, below 0"), (.5, "the label 0.5: whole numbers"),
                         (2 ** 40, "the label 1099511627776.0: whole numbers up to 2147483647")):
    labels[1, 2] = value
    (tmp_path / "a.tif").write_bytes(make_tiff([labels], tags=({339: (3,)},)))
    with pytest.raises(ValueError, match=message):
      read_label_map(tmp_path / "a.tif")
  # Floats with a predictor of their own, and complex numbers.
  for tags in ({339: (3,), 317: (3,)}, {339: (6,)}):
    (tmp_path / "a.tif").write_bytes(make_tiff([labels], tags=(tags,)))
    with pytest.raises(ValueError, match="label image .*a.tif has numbers of 64 bits that are not"):
      read_label_map(tmp_path / "a.tif")


def test_labels_of_several_pages_or_channels(tmp_path):
  labels = np.zeros((8, 8, 2), np.uint16)
  (tmp_path / "a.tif").write_bytes(make_tiff([labels[..., :1]] * 3))
  with pytest.raises(ValueError, match="label image .*a.tif has 3 pages: one is needed"):
    read_label_map(tmp_path / "a.tif")
  (tmp_path / "a.tif").write_bytes(make_tiff([labels]))
  with pytest.raises(ValueError, match="label image .*a.tif has 2 channels: one is needed"):
    read_label_map(tmp_path / "a.tif")


def test_label_images_that_are_none(tmp_path):
  noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
  PIL.Image.fromarray(noise).convert("RGB").save(tmp_path / "rgb.png")
  with pytest.raises(ValueError, match=r"rgb.png has colours \(mode RGB\)"):
    read_label_map(tmp_path / "rgb.png")
  PIL.Image.fromarray(noise).save(tmp_path / "cut.png")
  for size in (0, 20, 1000):
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:size])
    with pytest.raises(ValueError, match="cut.png cannot be decoded"):
      read_label_map(tmp_path / "cut.png")
    PIL.Image.fromarray(noise).save(tmp_path / "cut.png")
  with pytest.raises(ValueError, match="cannot read label image .*gone.png: No such file"):
    read_label_map(tmp_path / "gone.png")


def test_rle_by_hand():
  # Down the columns: 2 0 | 2 5 | 0 5.
  rles = encode_labels(np.array([[2, 2, 0], [0, 5, 5]]))
  assert list(rles) == [2, 5]
  masks = decode_masks(list(rles.values()), (2, 3))
  np.testing.assert_array_equal(masks, [[[1, 1, 0], [0, 0, 0]], [[0, 0, 0], [0, 1, 1]]])


@pytest.mark.parametrize("labels", [1, 3, 400])
def test_rle_equals_pycocotools_mask_by_mask(labels):
  rng = np.random.default_rng(labels)
  for size in ((1, 1), (1, 7), (7, 1), (40, 61)):
    image = rng.integers(0, labels + 1, size)
    expected = {int(value): encode_mask(image == value) for value in np.unique(image) if value}
    assert encode_labels(image) == expected
  assert encode_labels(np.zeros((3, 4), int)) == {}
