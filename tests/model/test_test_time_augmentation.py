"""Mirrored and scaled views, and the way back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import oracles, tiny
from mnc_jax.config import ModelConfig
from mnc_jax.model.test_time_augmentation import (
  View,
  make_views,
  mirror_images,
  restore_candidates,
  scale_images,
)
from mnc_jax.structs import StageOutput

# Compiled as a whole: operation by operation takes several times as long.
scale = jax.jit(scale_images, static_argnames=("factor", "multiple"))
mirror = jax.jit(mirror_images)


def images_of(sizes, height=40, width=48, seed=0):
  """Images of noise with these (height, width) in a bucket, and the sizes as int32."""
  rng = np.random.default_rng(seed)
  images = np.zeros((len(sizes), height, width, 3), np.uint8)
  for image, (rows, columns) in zip(images, sizes):
    image[:rows, :columns] = rng.integers(0, 256, (rows, columns, 3))
  return images, np.array(sizes, np.int32)


def test_images_are_mirrored_inside_their_width():
  images, sizes = images_of([(2, 3), (3, 5), (0, 0)], 3, 5)
  # The padding never shows.
  mirrored = np.asarray(mirror(images, sizes))
  images[0, :, 3:] = 99
  np.testing.assert_array_equal(mirror(images, sizes), mirrored)
  assert mirrored.dtype == np.uint8
  np.testing.assert_array_equal(mirrored[0, :2, :3], images[0, :2, 2::-1])
  assert not mirrored[0, :, 3:].any()
  np.testing.assert_array_equal(mirrored[1], images[1, :, ::-1])
  assert not mirrored[2].any()


SIZES = [(40, 48), (33, 21), (1, 2), (0, 0)]


@pytest.mark.parametrize("factor", [0.3, 0.5, 1.5, 2.0])
def test_scaled_images_against_the_oracle_in_any_bucket(factor):
  images, sizes = images_of(SIZES)
  scaled, new_sizes = scale(images, sizes, factor=factor, multiple=16)
  assert scaled.dtype == jnp.float32
  assert all(side % 16 == 0 for side in scaled.shape[1:3])
  np.testing.assert_array_equal(new_sizes, np.round(sizes * factor))
  for image, size, got, (height, width) in zip(images, sizes, scaled, np.asarray(new_sizes)):
    expected = np.zeros(got.shape)
    if height and width:
      inside = image[:size[0], :size[1]]
      expected[:height, :width] = oracles.scale_image(inside, factor, height, width)
    np.testing.assert_allclose(got, expected, atol=2e-3)
  # A larger bucket and its padding change nothing.
  larger = np.full((len(SIZES), 64, 80, 3), 255, np.uint8)
  for image, (height, width), target in zip(images, sizes, larger):
    target[:height, :width] = image[:height, :width]
  other, other_sizes = scale(larger, sizes, factor=factor, multiple=16)
  np.testing.assert_array_equal(other_sizes, new_sizes)
  rows, columns = scaled.shape[1:3]
  np.testing.assert_allclose(other[:, :rows, :columns], scaled, atol=2e-3)
  assert not other[:, rows:].any() and not other[:, :, columns:].any()


@pytest.mark.parametrize("factor", [0.37, 1.25])
def test_the_border_of_a_bright_image_stays_bright(factor):
  images = np.zeros((1, 32, 32, 3), np.uint8)
  images[:, :21, :30] = 200
  scaled, ((height, width),) = scale(images, np.array([[21, 30]]), factor=factor, multiple=16)
  np.testing.assert_allclose(scaled[0, :height, :width], 200, rtol=1e-6)
  assert not scaled[0, height:].any() and not scaled[0, :, width:].any()


@pytest.mark.parametrize(("side", "factor", "expected"), [
    # 640 * 1.1 is 704.0000000000001 in float64, which would need one multiple of 16 more.
    (640, 1.1, 704), (64, 1.5, 96), (65, 0.5, 32), (67, 0.5, 48), (600, 1.0, 600), (3, 0.1, 16)])
def test_buckets_are_rounded_up_and_hold_the_image_that_fills_them(side, factor, expected):
  scaled, sizes = scale(
      np.zeros((1, side, 16, 3), np.uint8), np.array([[side, 16]]), factor=factor, multiple=16)
  assert scaled.shape[1] == expected
  assert sizes[0, 0] == round(side * factor) <= expected


def output_of(boxes):
  """An output with these boxes [B, R, 4] and masks whose cells all differ."""
  count = boxes.shape[:2]
  masks = jnp.arange(count[0] * count[1] * 4.0).reshape(*count, 2, 2)
  logits = jnp.arange(count[0] * count[1] * 3.0).reshape(*count, 3)
  return StageOutput(jnp.asarray(boxes), jnp.ones(count, bool), masks, logits, logits,
                     jnp.zeros((*count, 3, 4)).at[..., 2, 0].set(1.0))


MODEL = ModelConfig(num_categories=3)  # A delta of 1 is a tenth of a width.


@pytest.mark.parametrize(("factor", "mirrored", "expected"), [
    (1.0, False, [[20, 10, 60, 40], [0, 0, 100, 80]]),
    (2.0, False, [[10, 5, 30, 20], [0, 0, 50, 40]]),
    (1.0, True, [[40, 10, 80, 40], [0, 0, 100, 80]]),
    (2.0, True, [[70, 5, 90, 20], [50, 0, 100, 40]]),
    (0.5, True, [[-20, 20, 60, 80], [-100, 0, 100, 160]])])
def test_boxes_and_masks_come_back_by_hand(factor, mirrored, expected):
  output = output_of(np.array([[[20, 10, 60, 40], [0, 0, 100, 80]]], np.float32))
  size = np.array([[80, 100]])
  view = View(None, size, factor, mirrored)
  found = restore_candidates(output, size, view, config=MODEL)
  np.testing.assert_array_equal(found.boxes[0], expected)
  # Only the last category moves a box, to the right in the view, and not out of it.
  np.testing.assert_allclose(
      found.refined_boxes[0, :, :2], np.stack([expected, expected], axis=1), rtol=1e-6)
  moved = np.array([[24, 10, 64, 40], [10, 0, 100, 80]]) / factor
  if mirrored:
    moved[:, [0, 2]] = 100 - moved[:, [2, 0]]
  np.testing.assert_allclose(found.refined_boxes[0, :, 2], moved, rtol=1e-6)
  first = [[1, 0], [3, 2]] if mirrored else [[0, 1], [2, 3]]
  np.testing.assert_array_equal(found.mask_logits[0, 0], first)
  np.testing.assert_array_equal(found.category_logits, output.category_logits)
  assert found.valid.all()


def test_each_image_is_mirrored_in_its_own_width():
  output = output_of(np.array([[[2, 0, 5, 9]], [[2, 0, 5, 9]]], np.float32))
  sizes = jnp.array([[9, 10], [9, 20]])
  found = restore_candidates(output, sizes, View(None, sizes, 1.0, True), config=MODEL)
  np.testing.assert_array_equal(found.boxes[:, 0], [[5, 0, 8, 9], [15, 0, 18, 9]])
  np.testing.assert_allclose(
      found.refined_boxes[:, 0, 2], [[4.7, 0, 7.7, 9], [14.7, 0, 17.7, 9]], rtol=1e-6)


def test_by_default_the_only_view_is_the_arguments():
  images, sizes = images_of([(40, 48), (20, 10)], 48, 64)
  only, = make_views(images, sizes, config=tiny.tiny_config())
  assert only.images is images and only.image_sizes is sizes
  assert (only.factor, only.mirrored) == (1.0, False)


def test_views_are_made_in_order_and_traced_once_for_many_batches():
  config, traces = tiny.tiny_config(inference={"flip": True, "scales": (1.0, 0.5)}), []
  @jax.jit
  def pixels(images, sizes):
    traces.append(make_views(images, sizes, config=config))
    return [view.images for view in traces[-1]]

  for seed, size in enumerate(((20, 10), (40, 48), (0, 0))):
    images, sizes = images_of([size, (7, 9)], 48, 64, seed)
    plain, mirrored, smaller, smaller_mirrored = pixels(images, sizes)
    np.testing.assert_array_equal(plain, images)
    np.testing.assert_array_equal(mirrored, mirror(images, sizes))
    assert smaller.shape == (2, 32, 32, 3)
    np.testing.assert_allclose(
        smaller, scale(images, sizes, factor=0.5, multiple=16)[0], atol=1e-3)
    # First mirrored, then scaled: position x comes to x * factor whatever the width.
    np.testing.assert_allclose(
        smaller_mirrored, scale(mirrored, sizes, factor=0.5, multiple=16)[0], atol=1e-3)
  views, = traces
  assert [(view.factor, view.mirrored) for view in views] == [
      (1.0, False), (1.0, True), (0.5, False), (0.5, True)]
