"""Polygons of masks read back as the masks, by the reader that training uses."""

import numpy as np
import pytest

from mnc_jax.coco.rle import decode_mask, encode_mask
from mnc_jax.coco.segmentation import read_segmentation
from mnc_jax.evaluation.writers import outlines
from mnc_jax.evaluation.writers.outlines import outline_mask


def read_back(mask):
  polygons = outline_mask(encode_mask(mask))
  flat = [polygon.ravel().tolist() for polygon in polygons]
  return decode_mask(read_segmentation(flat, *mask.shape)), polygons


def iou(one, other):
  return (one & other).sum() / (one | other).sum()


def draw_lobes(radius, rng):
  """A disc with three lobes, in an image with a border."""
  y, x = np.mgrid[:4 * radius, :4 * radius] - 2 * radius + rng.random((2, 1, 1))
  wave = 1 + 0.3 * np.cos(3 * np.arctan2(y, x) + rng.uniform(0, 6))
  return (np.hypot(x, y) < radius * wave).astype(np.uint8)


@pytest.mark.parametrize(("radius", "most"), [(2, 16), (6, 25), (20, 40), (100, 60)])
def test_few_vertices_give_nearly_the_same_mask(radius, most):
  rng = np.random.default_rng(radius)
  for _ in range(5):
    mask = draw_lobes(radius, rng)
    found, (polygon,) = read_back(mask)
    assert iou(found, mask) >= 0.98
    assert 4 <= len(polygon) <= most


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_speck_costs_few_vertices_and_stays(side):
  y, x = np.mgrid[:440, :440] - 210
  disc = (np.hypot(x, y) < 200).astype(np.uint8)
  mask = disc.copy()
  mask[430:430 + side, 5:5 + side] = 1
  found, polygons = read_back(mask)
  assert iou(found, mask) >= 0.98
  assert sorted(map(len, polygons))[1] == len(read_back(disc)[1][0]) <= 30
  assert 3 <= min(map(len, polygons)) <= 8
  assert found[425:, :10].any()


def test_the_finest_tolerance_is_exact_for_any_parts_and_holes(monkeypatch):
  monkeypatch.setattr(outlines, "_LEAST_IOU", 1.0)
  rng = np.random.default_rng(0)
  for _ in range(80):
    size = rng.integers(1, 30, 2)
    mask = (rng.random(size) < rng.choice([0.05, 0.3, 0.5, 0.7, 0.95, 1])).astype(np.uint8)
    if mask.any():
      np.testing.assert_array_equal(read_back(mask)[0], mask)


def test_a_ring_keeps_its_hole_in_one_polygon():
  y, x = np.mgrid[:80, :90] - 40
  mask = ((np.hypot(x, y) < 30) & (np.hypot(x, y) > 12)).astype(np.uint8)
  found, polygons = read_back(mask)
  assert len(polygons) == 1
  assert iou(found, mask) >= 0.98
  assert not found[40, 40]


def test_a_part_inside_a_hole_is_a_part_of_its_own():
  mask = np.zeros((40, 40), np.uint8)
  mask[5:35, 5:35] = 1
  mask[10:30, 10:30] = 0
  mask[15:25, 15:25] = 1
  found, polygons = read_back(mask)
  assert len(polygons) == 2
  assert iou(found, mask) >= 0.98
  assert not found[12, 12]
  assert found[20, 20]


def test_a_pixel_is_around_its_centre():
  mask = np.zeros((7, 9), np.uint8)
  mask[2, 5] = 1
  found, (polygon,) = read_back(mask)
  np.testing.assert_array_equal(found, mask)
  np.testing.assert_allclose(polygon.mean(axis=0), [5.5, 2.5])


def test_straight_edges_are_between_pixels():
  mask = np.zeros((30, 40), np.uint8)
  mask[10:20, 5:35] = 1
  _, (polygon,) = read_back(mask)
  np.testing.assert_allclose(polygon.min(axis=0), [5, 10])
  np.testing.assert_allclose(polygon.max(axis=0), [35, 20])
