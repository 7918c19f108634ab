import numpy as np
import PIL.Image
import pytest

from helpers.found_by_hand import SIZE, make_found, make_record, make_target
from mnc_jax.coco.rle import encode_mask
from mnc_jax.data.readers.label_maps import encode_labels, read_label_map
from mnc_jax.evaluation.writers.found import FormatError
from mnc_jax.evaluation.writers.label_images import draw_labels, open_writer


def test_the_better_of_two_that_overlap_has_the_pixels(tmp_path):
  target, counts = make_target(tmp_path)
  with open_writer(target) as write:
    write(make_found(make_record((10, 30), (10, 40)), make_record((20, 50), (30, 80), score=0.6)))
  image = PIL.Image.open(tmp_path / "labels" / "a.png")
  assert image.mode == "I;16"
  labels = np.asarray(image)
  assert labels.shape == SIZE
  expected = np.zeros(SIZE)
  expected[20:50, 30:80] = 2
  expected[10:30, 10:40] = 1
  np.testing.assert_array_equal(labels, expected)
  assert not +counts


def test_instances_that_others_cover_are_counted(tmp_path):
  target, counts = make_target(tmp_path)
  with open_writer(target) as write:
    write(make_found(make_record((10, 30), (10, 40)), make_record((15, 20), (15, 20), score=0.6),
                     make_record((40, 41), (3, 4), score=0.5)))
    write(make_found(name="nothing"))
  assert list(counts.items()) == [
      ("Instances without a pixel in their label image, since better ones cover them", 1)]
  assert np.unique(np.asarray(PIL.Image.open(tmp_path / "labels" / "a.png"))).tolist() == [0, 1, 3]
  assert not np.asarray(PIL.Image.open(tmp_path / "labels" / "nothing.png")).any()


def test_our_reader_reads_the_instances(tmp_path):
  record = make_record((10, 30), (10, 40))
  with open_writer(make_target(tmp_path)[0]) as write:
    write(make_found(record))
  masks = encode_labels(read_label_map(tmp_path / "labels" / "a.png"))
  assert masks == {1: record["segmentation"]}


def test_more_instances_than_8_bits_have_values():
  masks = [encode_mask(np.eye(1, 300, index).reshape(15, 20)) for index in range(300)]
  np.testing.assert_array_equal(draw_labels(masks, (15, 20)).ravel(), np.arange(1, 301))


def test_more_instances_than_16_bits_have_values():
  mask = encode_mask(np.ones((2, 2)))
  assert draw_labels([mask] * 65535, (2, 2)).max() == 1
  with pytest.raises(FormatError, match="65536 instances, but a label image of .* 65535"):
    draw_labels([mask] * 65536, (2, 2))
