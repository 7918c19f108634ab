"""Splits with many crowd regions, or nothing else."""

import dataclasses
import json

import numpy as np
import pytest

from helpers.toy_sets import coco_content
from mnc_jax.config import DataConfig
from mnc_jax.data import load_source
from mnc_jax.data.crowd import describe_crowd, take_as_instances
from mnc_jax.data.pipeline.repeats import repeat_factors


@pytest.fixture
def config(write_coco):
  """A function that writes a file whose three annotations have these `iscrowd`."""
  def write(*iscrowd):
    content = coco_content()
    for row, value in zip(content["annotations"], iscrowd, strict=True):
      row["iscrowd"] = value
    path, images = write_coco(json.dumps(content))
    return DataConfig(train_annotations=str(path), train_images=str(images),
                      eval_annotations=str(path), eval_images=str(images))
  return write


def test_a_fifth_is_notable():
  assert not describe_crowd("x", 0, 0) and not describe_crowd("x", 19, 100)
  assert describe_crowd("the split train", 20, 100).startswith(
      "the split train: 20 of 100 annotations are crowd regions (iscrowd 1), from which nothing")
  assert "x: all 7 annotations are" in describe_crowd("x", 7, 7)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_crowd_alone_is_an_error_and_much_of_it_a_warning(config, split):
  with pytest.raises(ValueError, match=r"instances.json: all 3 annotations are crowd regions .* if "
                                       r"each of them is one object, set data.crowd_as_instances$"):
    load_source(config(1, 1, 1), split)
  # Not `pytest.warns`, which also reports the warning of pycocotools that setup.cfg ignores.
  with pytest.raises(UserWarning, match=r"instances.json: 1 of 3 annotations are crowd regions"):
    load_source(config(0, 1, 0), split)
  assert load_source(config(0, 0, 0), split)


def test_they_can_be_taken_as_instances(config):
  source = load_source(dataclasses.replace(config(1, 1, 1), crowd_as_instances=True), "train")
  assert source.crowd_counts.tolist() == [0, 0, 0]
  assert [row["iscrowd"] for row in source.read_annotations(0)] == [0, 0]
  assert source[0].crowd.tolist() == [False, False]


def test_the_images_that_are_chosen_decide(config):
  some = dataclasses.replace(config(1, 1, 0), image_ids=(4,))
  with pytest.raises(ValueError, match="all 2 annotations are crowd regions"):
    load_source(some, "train")


def test_their_categories_count_for_the_repetition_of_images(config):
  source = load_source(config(0, 0, 0), "train")
  # As of a prepared set, whose index has the objects without crowd regions.
  source = dataclasses.replace(source, objects=(np.zeros(0, int), np.zeros(0, int)))
  expected = repeat_factors(dataclasses.replace(source, objects=None), 1.0)
  assert (repeat_factors(source, 1.0) == 1).all() and expected.max() > 1
  np.testing.assert_array_equal(repeat_factors(take_as_instances(source), 1.0), expected)
