"""The TFDS builder, on a set of a few images, and that it needs no TensorFlow."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from mnc_jax.config import DataConfig
from mnc_jax.data import (
  evaluation_batches,
  load_source,
  make_ground_truth,
  prepare,
  training_batches,
)
from mnc_jax.data.readers import shapes
from mnc_jax.data.readers.drawing import draw_image

SPLITS = {"train": (0, 0, 12), "validation": (1, 1_000_000, 5)}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(shapes, "_SPLITS", SPLITS)
    folder = tmp_path_factory.mktemp("data")
    prepare("shapes", "", folder)
  return str(folder)


@pytest.fixture
def config(data_dir):
  return DataConfig(dataset="shapes", data_dir=data_dir, short_side=128, long_side=128,
                    buckets=((128, 128),), max_instances=8)


def test_reads_what_was_drawn(config):
  source = load_source(config, "eval")
  assert len(source) == 5
  assert source.category_names == ("disc", "square", "triangle", "star", "ring")
  for index in range(5):
    drawn, record = draw_image(index, 1), source[index]
    assert record.image_id == source.image_ids[index] == 1_000_000 + index
    np.testing.assert_array_equal(record.image, drawn.image)
    np.testing.assert_array_equal(record.masks, drawn.masks)
    np.testing.assert_array_equal(record.labels, drawn.labels)
    assert source.instance_counts[index] == len(drawn.labels)
    assert not record.crowd.any()


def test_ground_truth_fits_the_records(config):
  source = load_source(config, "eval")
  ground_truth = make_ground_truth(source)
  areas = [a["area"] for a in ground_truth["annotations"]]
  assert areas == [mask.sum() for index in range(5) for mask in source[index].masks]
  assert len({a["id"] for a in ground_truth["annotations"]}) == len(areas)
  assert [c["name"] for c in ground_truth["categories"]] == list(source.category_names)
  assert "file_name" not in ground_truth["images"][0]


def test_splits_and_restriction(config):
  train = load_source(config, "train")
  assert not set(train.image_ids) & set(load_source(config, "eval").image_ids)
  chosen = load_source(DataConfig(dataset="shapes", data_dir=config.data_dir, image_ids=(7, 3)),
                       "train")
  assert [chosen[0].image_id, chosen[1].image_id] == [7, 3]
  np.testing.assert_array_equal(chosen[1].image, train[3].image)
  with pytest.raises(ValueError, match="no image with id 99"):
    load_source(DataConfig(dataset="shapes", data_dir=config.data_dir, image_ids=(7, 99)), "train")


def test_evaluation_needs_no_files_and_reads_the_same(config, tmp_path, monkeypatch):
  monkeypatch.setattr(shapes, "_SPLITS", SPLITS)
  prepared = load_source(config, "eval")
  drawn = load_source(DataConfig(dataset="shapes", data_dir=str(tmp_path / "data")), "eval")
  assert not list(tmp_path.iterdir())
  assert make_ground_truth(drawn) == make_ground_truth(prepared)
  np.testing.assert_array_equal(drawn.instance_counts, prepared.instance_counts)
  for index in (0, len(prepared) - 1):
    np.testing.assert_array_equal(drawn[index].image, prepared[index].image)
  assert (drawn.name, drawn.category_names) == (prepared.name, prepared.category_names)


def test_is_prepared_once(config, monkeypatch):
  monkeypatch.setattr(shapes, "draw_image", None)
  assert len(load_source(config, "train")) == 12


def test_batches_and_pickle(config):
  source = pickle.loads(pickle.dumps(load_source(config, "train")))
  batch, info = next(iter(training_batches(source, config, seed=0, batch_size=4)))
  assert batch.images.shape == (4, 128, 128, 3)
  assert batch.masks.shape == (4, 8, 112, 112)
  np.testing.assert_array_equal(batch.valid.sum(axis=1), source.instance_counts[info.image_ids])


def test_no_tensorflow(config):
  program = (
      "import sys; from mnc_jax.data import *; from mnc_jax.config import DataConfig\n"
      f"config = DataConfig(dataset='shapes', data_dir={config.data_dir!r}, short_side=128,\n"
      "                    long_side=128, buckets=((128, 128),))\n"
      "list(evaluation_batches(load_source(config, 'eval'), config, batch_size=2))\n"
      "assert 'tensorflow' not in sys.modules")
  subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_evaluation_batches(config):
  batches = list(evaluation_batches(load_source(config, "eval"), config, batch_size=4))
  assert [info.image_ids.tolist() for _, info in batches] == [
      [1_000_000, 1_000_001, 1_000_002, 1_000_003], [1_000_004, -1, -1, -1]]
