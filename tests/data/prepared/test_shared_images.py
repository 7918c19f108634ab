"""Images that are in both splits."""

import dataclasses
import warnings

import numpy as np
import pytest

from helpers.toy_sets import make_source
from mnc_jax.config import DataConfig
from mnc_jax.data import warn_of_shared_images
from mnc_jax.data.listing import Content
from mnc_jax.data.prepared.shared_images import describe_shared, hash_image


def test_copies_are_found_under_any_name(tmp_path):
  (tmp_path / "1.jpg").write_bytes(b"pixels")
  hashes = [hash_image(Content(image, (1, 1), []))
            for image in (tmp_path / "1.jpg", b"pixels", b"others")]
  assert hashes[0] == hashes[1] != hashes[2]
  train, validation = {hashes[0]: "train/1.jpg"}, {hashes[2]: "val/2.jpg", hashes[1]: "val/9.jpg"}
  assert describe_shared("coco", {"train": train, "validation": validation}) == (
      "coco: 1 of 2 images of the split validation are in train too (the same bytes), for example "
      "'val/9.jpg' and 'train/1.jpg': scores of images that were trained on say nothing about "
      "others")
  del validation[hashes[1]]
  assert not describe_shared("coco", {"train": train, "validation": validation})
  assert not describe_shared("coco", {"train": train})


def _source(name, *files):
  return dataclasses.replace(make_source(np.full((len(files), 2), 8)), name=name, file_names=files)


def test_files_of_both_annotation_files_are_reported():
  train, evaluation = _source("train.json", "a", "b", "c"), _source("val.json", "d", "b", "c")
  config = DataConfig(train_images="images", eval_images="./images")
  with pytest.warns(UserWarning, match=r"^2 of 3 evaluation images are training images too: b, c "):
    warn_of_shared_images(train, evaluation, config)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    warn_of_shared_images(train, _source("val.json", "d"), config)
    warn_of_shared_images(train, train, config)  # On purpose.
    warn_of_shared_images(train, evaluation, dataclasses.replace(config, eval_images="others"))
    warn_of_shared_images(train, evaluation, DataConfig())
