"""Images as users give them: files of any orientation, and arrays that are not uint8 RGB."""

import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from mnc_jax.data.images import ImageOptions, read_image
from mnc_jax.data.records import BrokenImageError
from mnc_jax.data.user_images import to_rgb

# From the pixels as they are stored to those that a viewer shows (EXIF 2.32, tag 0x0112).
VIEWS = {
    1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1), 6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1), 8: lambda x: np.rot90(x)}


def make_image(height=6, width=9):
  return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def save(path, image, orientation, **options):
  exif = PIL.Image.Exif()
  exif[0x0112] = orientation
  PIL.Image.fromarray(image).save(path, exif=exif, **options)
  return path


@pytest.mark.parametrize(("suffix", "options"), [
    ("png", {}), ("webp", {"lossless": True}), ("tiff", {}),
    ("jpg", {"quality": 95, "subsampling": 0})])
@pytest.mark.parametrize("orientation", VIEWS)
def test_files_are_upright(tmp_path, suffix, options, orientation):
  image = make_image().repeat(16, 0).repeat(16, 1)  # Blocks, which a JPEG keeps.
  path = save(tmp_path / f"image.{suffix}", image, orientation, **options)
  found = to_rgb(path, "the image")
  assert found.dtype == np.uint8
  np.testing.assert_allclose(found.astype(int), VIEWS[orientation](image).astype(int),
                             atol=12 if suffix == "jpg" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 6543])
def test_an_orientation_that_does_not_exist_is_ignored(tmp_path, orientation):
  path = save(tmp_path / "image.png", make_image(), orientation)
  np.testing.assert_array_equal(to_rgb(str(path), "the image"), make_image())


def test_damaged_exif_data_are_ignored(tmp_path):
  PIL.Image.fromarray(make_image()).save(tmp_path / "image.png", exif=b"Exif\0\0II*\0\xff\xff")
  np.testing.assert_array_equal(to_rgb(tmp_path / "image.png", "the image"), make_image())


def test_arrays_of_16_bits_are_kept():
  deep = make_image().astype(np.uint16) * 257
  assert to_rgb(deep, "the image") is deep


def test_a_frame_of_zeros_is_black_in_8_and_16_bits():
  black = np.zeros((8, 9, 3), np.uint16)
  assert to_rgb(black, "the image") is black


@pytest.mark.parametrize("value", [0, 100, 1000])
def test_blank_frames_of_16_bits_are_kept(value):
  blank = np.full((6, 9, 3), value, np.uint16)
  assert to_rgb(blank, "the image") is blank


def test_bytes_of_16_bits_may_be_in_either_order():
  deep = make_image().astype(np.uint16) * 257
  for order in "<>":
    found = to_rgb(deep.astype(f"{order}u2"), "the image")
    assert found.dtype == np.uint16 and found.dtype.isnative
    np.testing.assert_array_equal(found, deep)


def test_data_sets_are_read_as_photographs_are(tmp_path):
  path = save(tmp_path / "image.png", make_image(), 6)
  np.testing.assert_array_equal(read_image(path), to_rgb(path, "the image"))
  stored = ImageOptions(exif="stored")
  np.testing.assert_array_equal(read_image(path, options=stored), make_image())
  np.testing.assert_array_equal(to_rgb(path, "the image", options=stored), make_image())


def test_files_by_text_and_home_and_broken_ones(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  save(tmp_path / "image.png", make_image(), 1)
  np.testing.assert_array_equal(to_rgb("~/image.png", "the image"), make_image())
  with pytest.raises(BrokenImageError, match=f"{tmp_path}/none.png: No such file"):
    to_rgb("~/none.png", "the image")
  (tmp_path / "broken.jpg").write_text("text")
  with pytest.raises(BrokenImageError, match="broken.jpg cannot be decoded"):
    to_rgb(tmp_path / "broken.jpg", "the image")


def test_arrays_come_back_as_they_are():
  image = make_image()
  assert to_rgb(image, "the image") is image
  np.testing.assert_array_equal(to_rgb(jnp.asarray(image), "the image"), image)
  np.testing.assert_array_equal(to_rgb(image[:, ::-1], "the image"), image[:, ::-1])


IMAGE = make_image()
GREY = IMAGE[..., 0]


# What the message proposes, applied to the image, gives `expected`.
@pytest.mark.parametrize(("image", "found", "expected"), [
    (GREY, r"the shape \[6, 9\]", GREY[..., None].repeat(3, -1)),
    (GREY[..., None], r"the shape \[6, 9, 1\]", GREY[..., None].repeat(3, -1)),
    (GREY[None], r"the shape \[1, 6, 9\]", GREY[..., None].repeat(3, -1)),
    (IMAGE[..., :2], r"the shape \[6, 9, 2\]", GREY[..., None].repeat(3, -1)),
    (np.dstack([IMAGE, GREY]), r"the shape \[6, 9, 4\]", IMAGE),
    (IMAGE.transpose(2, 0, 1), r"the shape \[3, 6, 9\]", IMAGE),
    (IMAGE[None], r"the shape \[1, 6, 9, 3\]", [IMAGE]),
    (IMAGE.astype(np.float64), "float64 pixels", IMAGE),
    (np.float32(IMAGE >= 128), "float32 pixels.* 0 to 1", np.uint8(255) * (IMAGE >= 128)),
    (jnp.float32(IMAGE >= 128), "float32 pixels.* 0 to 1", np.uint8(255) * (IMAGE >= 128)),
    (jnp.bfloat16(IMAGE >= 128), "bfloat16 pixels.* 0 to 1", np.uint8(255) * (IMAGE >= 128)),
    (IMAGE >= 128, "bool pixels", np.uint8(255) * (IMAGE >= 128)),
    (IMAGE.astype(np.int64), "int64 pixels", IMAGE),
    (IMAGE.astype(np.int32) * 257, "int32 pixels.* 0 to 65535", IMAGE.astype(np.uint16) * 257),
    (IMAGE.astype(np.uint16), "uint16 pixels.* almost black, at most .* as a file", IMAGE),
    (np.uint16(IMAGE >= 128), "uint16 pixels.* almost black, at most 1", np.uint8(IMAGE >= 128))])
def test_the_message_has_the_cure(image, found, expected):
  with pytest.raises(ValueError, match=f"image 2 of the list has {found}") as error:
    to_rgb(image, "image 2 of the list")
  cure = str(error.value).rpartition(": ")[2]
  cured = eval(cure, {"image": image, "numpy": np})
  np.testing.assert_array_equal(cured, expected)
  if isinstance(cured, list):
    cured, = cured
  np.testing.assert_array_equal(to_rgb(cured, "the image"), np.asarray(expected).reshape(6, 9, 3))


@pytest.mark.parametrize("image", [IMAGE - 128.0, IMAGE * 100.0, np.full((6, 9, 3), np.nan)])
def test_normalised_pixels_cannot_be_undone(image):
  with pytest.raises(ValueError, match="float64 .*give the pixels as they were before normalis"):
    to_rgb(image, "the image")


@pytest.mark.parametrize("shape", [(0, 9, 3), (6, 0, 3), (0,), (6, 9, 0)])
def test_images_without_pixels(shape):
  with pytest.raises(ValueError, match="the image has no pixels: its shape is"):
    to_rgb(np.zeros(shape, np.uint8), "the image")


@pytest.mark.parametrize("shape", [(6,), (6, 9, 5), (2, 6, 9, 4), ()])
def test_shapes_without_a_cure(shape):
  with pytest.raises(ValueError, match=r"has the shape .*, but \[h, w, 3\] is needed$"):
    to_rgb(np.zeros(shape, np.uint8), "the image")


@pytest.mark.parametrize("image", [None, 3, PIL.Image.fromarray(IMAGE), b"image.png", {}])
def test_other_objects(image):
  with pytest.raises(TypeError, match=r"the image is a .*numpy.asarray\(image.convert"):
    to_rgb(image, "the image")
