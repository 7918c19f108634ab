"""Label images that are not instance labels are recognised by their connected parts."""

import re

import cv2
import numpy as np
import pytest

from mnc_jax.data.readers.label_checks import (
  LabelCounts,
  count_parts,
  describe_labels,
  describe_surrounding,
  split_components,
)


def draw_discs(*, classes=None):
  """Returns [96, 96] labels of nine discs, numbered or of the given classes."""
  labels = np.zeros((96, 96), np.int32)
  for number in range(9):
    center = (16 + 32 * (number % 3), 16 + 32 * (number // 3))
    cv2.circle(labels, center, 10, int(classes[number]) if classes else number + 1, -1)
  return labels


def test_parts_by_hand():
  labels = np.array([[7, 0, 7], [0, 0, 7], [2, 0, 0], [0, 2, 0]])
  assert count_parts(labels).parts == {2: 1, 7: 2}
  np.testing.assert_array_equal(
      split_components(labels), [[2, 0, 3], [0, 0, 3], [1, 0, 0], [0, 1, 0]])
  assert count_parts(np.zeros((4, 4), int)).parts == {}
  assert count_parts(np.full((4, 4), 3)).parts == {3: 1}


def test_parts_of_a_foreground_mask_are_the_discs():
  split = split_components((draw_discs() > 0) * 255)
  for number in range(1, 10):
    part = split[draw_discs() == number]
    assert part.min() == part.max() == number


def blur(labels):
  """Returns labels after resizing with interpolation."""
  return cv2.resize(cv2.resize((labels * 28).astype(np.float32), (61, 61)), (96, 96)).astype(int)


def outline(labels):
  """Returns labels with outlines of five pixels, as in VOC."""
  masks = [(labels == value).astype(np.uint8) for value in range(1, 10)]
  edges = [cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) for mask in masks]
  return np.where(np.any(edges, 0), 255, labels)


@pytest.mark.parametrize(("labels", "message"), [
    ((draw_discs() > 0) * 255, "3 of 3 labels in 3 label images are in several parts .9.0 on "
     "average., and 255 is the only value: these look like foreground masks.*--split-components"),
    (draw_discs(classes=[1, 5, 9] * 3), "9 of 9 labels .*only values are 1, 5, 9: .*of classes"),
    (blur(draw_discs()), "look like labels that were resized with interpolation"),
    (outline(draw_discs()), "in 3 of 3 label images the value 255 is thin lines")])
def test_what_it_looks_like_is_named_with_counts(labels, message):
  assert re.search(message, describe_labels([count_parts(labels)] * 3))


@pytest.mark.parametrize("labels", [
    draw_discs(), np.minimum(draw_discs(), 1) * (draw_discs() == 5),  # One disc alone.
    np.where(np.arange(96) % 32 < 16, draw_discs(), draw_discs() * (draw_discs() < 7)),
    np.zeros((9, 9), int)])
def test_instance_labels_are_no_cause_for_a_warning(labels):
  assert describe_labels([count_parts(labels)] * 3) is None
  assert describe_labels([]) is None


def test_of_many_labels_some_are_counted():
  assert len(count_parts(np.arange(10_001).reshape(73, 137)).parts) == 400


def count_by_hand(*images):
  """Returns counts without outlines of images that are given as {value: parts}."""
  return [LabelCounts(parts, outline=False) for parts in images]


def test_values_with_gaps_need_fewer_parts():
  classes = count_by_hand({2: 1, 4: 2}, {3: 1}, {1: 1, 5: 1}, {4: 1})  # 1 of 6 in parts.
  assert re.search("1 of 6 labels in 4 label images .*only values are 1, 2, 3, 4, 5: .*of classes",
                   describe_labels(classes))
  assert "255 is the only value: these look like foreground" in describe_labels(
      count_by_hand({255: 2}, *[{255: 1}] * 4))
  # Numbered without gaps, objects behind others are in parts as often.
  assert describe_labels(count_by_hand({1: 1, 2: 2}, {1: 1}, {1: 1, 2: 1}, {1: 1})) is None
  assert describe_labels(count_by_hand({2: 1, 4: 1}, {3: 1})) is None


def test_a_value_around_the_others_looks_like_the_background():
  shifted = [count_parts(draw_discs() + 1)] * 2
  assert describe_surrounding([*shifted, count_parts(draw_discs())]) == (
      "labels: in 2 of 3 label images no pixel is 0, and one value covers most of the border: "
      "value 1 looks like the background, and is read as an instance. 0 is background: set the "
      "background to 0")
  assert "values 1, 12 look like" in describe_surrounding(
      [*shifted, count_parts(np.where(draw_discs() > 0, draw_discs(), 12))])
  assert describe_surrounding([*shifted, *[count_parts(draw_discs())] * 3]) is None
  assert describe_surrounding([]) is None


def test_what_is_around_the_others_by_hand():
  around = np.full((6, 6), 4)
  around[2:4, 2:4] = 5
  assert count_parts(around).surrounding == 4
  around[2, 2] = 0
  assert count_parts(around).surrounding is None
  halves = np.ones((6, 6), int)
  halves[:, :3] = 2
  assert count_parts(halves).surrounding is None
  # The value with most of the border, in parts that have less than half of it each.
  halves[:, 2:4], halves[:, 4:] = 1, 2
  assert count_parts(halves).surrounding is None


def test_tissue_that_cells_cover_has_no_background():
  cells = np.arange(1, 17).reshape(4, 4).repeat(12, 0).repeat(12, 1)
  assert describe_surrounding([count_parts(cells)] * 3) is None
