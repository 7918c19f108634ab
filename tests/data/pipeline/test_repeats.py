"""Repeat factors of images with rare categories, by hand."""

import dataclasses

import numpy as np
import pytest

from mnc_jax.config import DataConfig
from mnc_jax.config.ranges import check_augmentation
from mnc_jax.data.pipeline.repeats import repeat_factors


class Source:
  """Annotations of images, as lists of (category_id, iscrowd)."""

  objects = None

  def __init__(self, *images):
    self.images = images

  def __len__(self):
    return len(self.images)

  def read_annotations(self, row):
    return [{"category_id": category, "iscrowd": crowd} for category, crowd in self.images[row]]


def test_images_have_the_factor_of_their_rarest_category():
  # Of 8 images all but one show 1, two show 5 and one 7, which is also a crowd elsewhere.
  source = Source([(1, 0)], [(1, 0), (1, 0)], [(1, 0), (5, 0)], [(5, 0), (1, 0)],
                  [(1, 0), (7, 0)], [(1, 0), (7, 1)], [(1, 0)], [])
  np.testing.assert_allclose(
      repeat_factors(source, 0.5), [1, 1, 2**0.5, 2**0.5, 2, 1, 1, 1])
  np.testing.assert_array_equal(repeat_factors(source, 0.125), np.ones(8))


def test_annotations_are_not_read_if_the_categories_of_all_images_are_known():
  source = Source(*[None] * 8)  # Which cannot be read.
  source.objects = np.array([0, 1, 1, 2]), np.array([5, 5, 9, 9])
  np.testing.assert_allclose(repeat_factors(source, 0.5), [2**0.5] * 3 + [1] * 5)


@pytest.mark.parametrize("value", [-0.1, 5.0, float("nan")])
def test_a_share_is_between_0_and_1(value):
  config = dataclasses.replace(DataConfig(), repeat_below=value)
  with pytest.raises(ValueError, match="data.repeat_below must be a share of the images"):
    check_augmentation(config)
