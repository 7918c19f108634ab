import csv

import numpy as np

from helpers.found_by_hand import SIZE, make_found, make_record, make_target
from mnc_jax.coco.rle import encode_mask
from mnc_jax.evaluation.writers.table import COLUMNS, find_centroid, open_writer


def read(path):
  with path.open(encoding="utf-8", newline="") as file:
    return list(csv.reader(file))


def test_a_line_per_confident_instance(tmp_path):
  better = make_record((10, 30), (20, 50), category_id=7, score=0.87654)
  worse = make_record((0, 1), (0, 1), score=0.2)
  with open_writer(make_target(tmp_path)[0]) as write:
    write(make_found(better, worse, confident=[better]))
    # What is there so far is complete.
    assert len(read(tmp_path / "instances.csv")) == 2
    write(make_found(name="nothing"))
    write(make_found(make_record((0, 2), (89, 90), image_id=6), name='of "b", b'))
  rows = read(tmp_path / "instances.csv")
  assert rows[0] == list(COLUMNS)
  assert rows[1] == ["folder/a.png", "4", "1", "größer", "0.8765", "600", "35.00", "20.00",
                     "20.00", "10.00", "50.00", "30.00"]
  assert rows[2] == ['folder/of "b", b.png', "6", "1", "cat", "0.9000", "2", "89.50", "1.00",
                     "89.00", "0.00", "90.00", "2.00"]
  assert len(rows) == 3


def test_centroids_are_means_of_the_centres_of_pixels():
  mask = np.zeros(SIZE, np.uint8)
  mask[3, 10] = mask[3, 11] = mask[7, 30] = 1
  np.testing.assert_allclose(find_centroid(encode_mask(mask)), ((10.5 + 11.5 + 30.5) / 3, 29 / 6))


def test_a_file_name_that_is_not_utf_8_is_written(tmp_path):
  with open_writer(make_target(tmp_path)[0]) as write:
    write(make_found(make_record((0, 2), (0, 2)), name="K\udce4fer"))  # Of the byte 0xE4.
  assert read(tmp_path / "instances.csv")[1][0] == "folder/K\\udce4fer.png"
