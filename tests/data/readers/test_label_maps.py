"""Label images of every kind, and their labels as RLE."""

import numpy as np
import PIL.Image
import pytest

from mnc_jax.coco.rle import decode_masks, encode_mask
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
