"""Opening data sets by config: what is missing, and categories known without the data."""

import typing

import pytest

from helpers.toy_sets import coco_content, make_source
from mnc_jax.coco.content import read_json
from mnc_jax.config import DataConfig
from mnc_jax.config.data import DatasetName
from mnc_jax.data import DATASETS, load_categories, load_source
from mnc_jax.data.records import restrict


def test_a_split_is_train_or_eval():
  with pytest.raises(ValueError, match="split 'val': 'train' or 'eval'"):
    load_source(DataConfig(dataset="shapes"), "val")


def test_each_data_set_of_the_config_has_a_reader():
  assert typing.get_args(DatasetName) == DATASETS


def test_an_unknown_data_set_is_reported_with_the_known_ones():
  with pytest.raises(ValueError, match="'voc', which is not known .* coco, label_images, sbd"):
    load_source(DataConfig(dataset="voc"), "eval")


@pytest.mark.parametrize("dataset, count, first, last", [
    ("shapes", 5, "disc", "ring"), ("sbd", 20, "aeroplane", "tvmonitor"),
    ("label_images", 1, "object", "object")])
def test_categories_are_known_without_data(tmp_path, dataset, count, first, last):
  names, ids = load_categories(DataConfig(dataset=dataset, data_dir=str(tmp_path)))
  assert (len(names), names[0], names[-1]) == (count, first, last)
  assert ids == tuple(range(1, count + 1))


def test_categories_of_coco_are_those_of_the_file(write_coco):
  annotations, images = write_coco(coco_content())
  config = DataConfig(dataset="coco", train_annotations=str(annotations),
                      train_images=str(images))
  assert load_categories(config) == (("bird", "tree"), (5, 20))


def test_the_images_chosen_to_train_on_have_an_instance(write_coco):
  annotations, images = write_coco(coco_content())
  config = DataConfig(train_annotations=str(annotations), train_images=str(images),
                      image_ids=(2,))
  with pytest.raises(ValueError, match="has 1 image, but no instance: there is nothing to learn"):
    load_source(config, "train")


def test_an_image_is_listed_once():
  source = make_source([(8, 8)] * 3)
  with pytest.raises(ValueError, match="toy: image id 101 is listed twice"):
    restrict(source, [100, 101, 101])


def test_annotations_that_cannot_be_read_are_no_json_fault(tmp_path):
  with pytest.raises(ValueError, match=f"cannot read {tmp_path}: Is a directory"):
    read_json(tmp_path)
