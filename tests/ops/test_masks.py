"""Pasting, resampling and resizing masks, and their overlap."""

import functools

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from helpers import oracles
from mnc_jax.ops import masks as ops

paste_masks = jax.jit(ops.paste_masks, static_argnums=(2, 3))
resample_masks = jax.jit(ops.resample_masks, static_argnums=3)
resize_masks = jax.jit(ops.resize_masks, static_argnums=1, static_argnames="method")
mask_iou_in_box = jax.jit(ops.mask_iou_in_box)


def _masks(rng, count, side):
  return rng.uniform(size=(count, side, side)).astype(np.float32)


def test_paste_by_hand():
  mask = jnp.array([[[0.0, 1.0], [0.5, 0.5]]])
  pasted = paste_masks(mask, jnp.array([[1.0, 0.0, 5.0, 4.0]]), 5, 6)[0]
  # Cell centres are x = 2 and 4; pixel centres at 1.5 ... 4.5.
  np.testing.assert_allclose(pasted[0], [0, 0, 0.25, 0.75, 1, 0], atol=1e-6)
  np.testing.assert_allclose(pasted[3], [0, 0.5, 0.5, 0.5, 0.5, 0], atol=1e-6)
  assert not pasted[4].any()


def test_paste_of_a_full_mask_covers_the_pixels_whose_centre_is_inside():
  box = jnp.array([[1.4, 2.6, 4.5, 4.6]])
  pasted = paste_masks(jnp.ones((1, 3, 3)), box, 6, 6)[0]
  expected = np.zeros((6, 6))
  expected[3:5, 1:4] = 1  # the centre at x = 4.5 is on the far edge: outside
  np.testing.assert_allclose(pasted, expected, atol=1e-6)


def test_paste_against_oracle():
  rng = np.random.default_rng(0)
  masks = _masks(rng, 14, 5)
  boxes = np.concatenate([oracles.random_boxes(rng, 7, 12), oracles.DEGENERATE_BOXES[:7]])
  pasted = paste_masks(masks, boxes, 9, 11)
  assert pasted.dtype == jnp.float32 and pasted.min() >= 0 and pasted.max() <= 1 + 1e-6
  np.testing.assert_allclose(pasted, oracles.paste_masks(masks, boxes, 9, 11), atol=1e-5)


def test_resample_against_oracle():
  rng = np.random.default_rng(1)
  masks = _masks(rng, 14, 5)
  old = np.concatenate([oracles.random_boxes(rng, 7, 8), oracles.DEGENERATE_BOXES[:7]])
  new = oracles.random_boxes(rng, 14, 8)
  read = resample_masks(masks, old, new, 6)
  np.testing.assert_allclose(read, oracles.resample_masks(masks, old, new, 6), atol=1e-5)
  assert not read[7:11].any() and read[:7].max() > 0.3


@pytest.mark.parametrize("platform", ["cpu", "default"])
def test_binary_masks_read_by_index_are_those_resampled(platform, monkeypatch):
  # What runs on an accelerator is compiled here too.
  monkeypatch.setattr(jax.lax, "platform_dependent",
                      lambda *args, cpu, default: {"cpu": cpu, "default": default}[platform](*args))
  rng = np.random.default_rng(3)
  masks = rng.choice(np.array([0, 0, 1, 255], np.uint8), (4, 5, 5))
  old = np.concatenate([oracles.random_boxes(rng, 7, 8), oracles.DEGENERATE_BOXES[:7]])
  new, index = oracles.random_boxes(rng, 14, 8), rng.integers(0, 4, 14)
  read = ops.read_binary_masks(masks, index, old, new, 6)
  expected = oracles.resample_masks(masks[index] != 0, old, new, 6)
  assert read.dtype == jnp.float32 and read.max() > 0.3
  np.testing.assert_allclose(read, expected, atol=1e-5)


def test_compiled_binary_masks_at_whole_positions_are_those_of_their_cells():
  # Indices and weights of one cell, whichever way the last bit of its position is rounded.
  rng = np.random.default_rng(4)
  masks = rng.integers(0, 2, (2000, 7, 7)).astype(np.uint8)
  boxes = oracles.random_boxes(rng, 2000, 100, 3.0)
  read = jax.jit(lambda m, b: ops.read_binary_masks(m, jnp.arange(2000), b, b, 7))
  np.testing.assert_allclose(read(masks, boxes), masks, atol=1e-4)


def test_resample_to_the_same_box_returns_the_mask():
  rng = np.random.default_rng(2)
  masks, boxes = _masks(rng, 4, 7), oracles.random_boxes(rng, 4, 100)
  np.testing.assert_allclose(resample_masks(masks, boxes, boxes, 7), masks, atol=1e-4)


def test_compiled_box_gradients_at_whole_positions_are_those_of_one_side():
  # Read at its own cells: positions are whole up to the last bit, which decides the side.
  rng, rows = np.random.default_rng(7), np.arange(400)
  masks, boxes = _masks(rng, 400, 7), oracles.random_boxes(rng, 400, 100, 3.0)
  y, x = rng.integers(0, 7, (2, 400))
  read = lambda boxes_of_masks: resample_masks(masks, boxes_of_masks, boxes, 7)[rows, y, x].sum()
  found = np.asarray(jax.jit(jax.grad(read))(boxes), np.float64)[:, 2]
  # Position (x + .5) / M * width is read at (x + .5) / M * width / (width + dx2) * M - .5.
  speed = -(x + 0.5) / (boxes[:, 2] - boxes[:, 0])
  line = np.pad(masks[rows, y], ((0, 0), (1, 1)), mode="edge")
  right = np.where(x < 6, line[rows, x + 2] - line[rows, x + 1], -line[rows, x + 1])
  left = line[rows, x + 1] - line[rows, x]
  beyond = np.where(x < 6, right, 0.0)  # Clamped to the last cell's centre.
  errors = [np.abs(found - speed * slope) for slope in (right, left, beyond)]
  assert np.all(np.min(errors, axis=0) < 1e-3 * np.abs(speed))


def test_gradients_against_finite_differences():
  rng = np.random.default_rng(3)
  with jax.enable_x64(True):
    masks = jnp.asarray(rng.uniform(size=(3, 4, 4)))
    boxes, others = (
        jnp.asarray(oracles.random_boxes(rng, 3, 8, 4.0), jnp.float64) for _ in range(2))
    paste = lambda m, b: paste_masks(m, b, 8, 8)
    resample = lambda m, b, o: resample_masks(m, b, o, 5)
    assert paste(masks, boxes).dtype == jnp.float64
    assert np.abs(jax.grad(lambda b: paste(masks, b).sum())(boxes)).max() > 1e-2
    check_grads(paste, (masks, boxes), order=1, modes=["rev"])
    check_grads(resample, (masks, boxes, others), order=1, modes=["rev"])
    for method in ("mean", "bilinear"):
      check_grads(lambda m, how=method: resize_masks(m, 3, method=how), (masks,), order=1,
                  modes=["rev"])


def test_gradients_are_finite_on_degenerate_boxes():
  boxes = jnp.asarray(np.repeat(oracles.DEGENERATE_BOXES, 8, axis=0))
  others = jnp.asarray(np.tile(oracles.DEGENERATE_BOXES, (8, 1)))
  masks = jnp.asarray(_masks(np.random.default_rng(4), 64, 3))
  @jax.jit
  def total(masks, boxes, others):
    read = resample_masks(masks, boxes, others, 4)
    return jnp.sum(read ** 2) + jnp.sum(paste_masks(masks, boxes, 8, 8) ** 2)
  value, gradients = jax.value_and_grad(total, argnums=(0, 1, 2))(masks, boxes, others)
  assert np.isfinite(value) and value > 1
  assert all(np.all(np.isfinite(g)) for g in gradients)


def test_resize_takes_the_mean_under_each_cell():
  masks = _masks(np.random.default_rng(5), 2, 24)
  np.testing.assert_allclose(
      resize_masks(masks, 8), masks.reshape(2, 8, 3, 8, 3).mean((2, 4)), rtol=1e-5)
  # Cells that overlap in part count in part: 3 cells to 2 are 1.5 each.
  mask = jnp.array([[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]])
  third = 1 / 3  # (0 + 1 / 2) / 1.5 along the first row
  np.testing.assert_allclose(
      resize_masks(mask, 2), [[[4 * third, 8 * third], [16 * third, 20 * third]]], rtol=1e-6)
  # Enlarged, each cell repeats.
  np.testing.assert_allclose(resize_masks(mask, 6)[0, 0], [0, 0, 1, 1, 2, 2], atol=1e-6)


def test_every_mask_cell_reaches_the_category_stage_alike():
  position = np.broadcast_to((np.arange(24) + 0.5) / 24, (1, 24, 24))
  read = resize_masks(position, 8)[0, 0]
  np.testing.assert_allclose(read, (np.arange(8) + 0.5) / 8, atol=1e-6)
  gradient = jax.grad(lambda masks: resize_masks(masks, 14).sum())(jnp.ones((1, 21, 21)))
  np.testing.assert_allclose(gradient, np.full((1, 21, 21), (14 / 21) ** 2), rtol=1e-5)


def test_another_resize_method_is_refused():
  with pytest.raises(ValueError, match="method is 'area', must be one of .'mean', 'bilinear'"):
    ops.resize_masks(jnp.ones((1, 4, 4)), 2, method="area")


def test_bilinear_resize_by_hand():
  bilinear = functools.partial(resize_masks, method="bilinear")
  mask = jnp.array([[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]])
  # Positions 0 and 1.5 along each axis.
  np.testing.assert_allclose(bilinear(mask, 2), [[[0.0, 1.5], [4.5, 6.0]]], rtol=1e-6)
  # Enlarged, positions 0, .5, ... 2.5: beyond the last centre it clamps.
  np.testing.assert_allclose(bilinear(mask, 6)[0, 0], [0.0, 0.5, 1.0, 1.5, 2.0, 2.0], rtol=1e-6)


def test_resize_against_the_release(shared_dir):
  data = np.load(shared_dir / "reference/release/mask_resize.npz")
  resized = resize_masks(data["masks"], 14, method="bilinear")
  np.testing.assert_allclose(resized, data["output"], atol=1e-5)


def test_mask_iou_by_hand():
  predicted = np.zeros((3, 4, 4), bool)
  predicted[:2, :, :2] = True  # the left half of each box
  target = np.zeros((3, 4, 4))
  target[:2, :2] = 1  # the upper half
  boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 5]], np.float32)
  areas = np.array([50, 100, 0], np.float32)  # the second object reaches outside its box
  # inter 25; unions 50 + 50 - 25 and 50 + 100 - 25.
  np.testing.assert_allclose(
      mask_iou_in_box(predicted, target, boxes, areas), [1 / 3, 0.2, 0], rtol=1e-6)


def test_mask_iou_gradient_is_finite():
  boxes = jnp.asarray(oracles.DEGENERATE_BOXES)
  masks = jnp.asarray(_masks(np.random.default_rng(5), 8, 3))
  total = lambda p, b: mask_iou_in_box(p, masks, b, jnp.zeros(8)).sum()
  assert all(np.all(np.isfinite(g)) for g in jax.jit(jax.grad(total, argnums=(0, 1)))(masks, boxes))


def test_vmap_agrees_with_a_loop_and_traces_once():
  rng = np.random.default_rng(6)
  masks = rng.uniform(size=(2, 3, 4, 4)).astype(np.float32)
  old, new = (oracles.random_boxes(rng, 6, 10).reshape(2, 3, 4) for _ in range(2))
  traces = []
  @jax.jit
  def read(masks, old, new):
    traces.append(1)
    return jax.vmap(lambda m, a, b: resample_masks(m, a, b, 5))(masks, old, new)
  together = read(masks, old, new)
  read(masks, new, old)
  assert len(traces) == 1
  alone = [resample_masks(*each, 5) for each in zip(masks, old, new)]
  np.testing.assert_allclose(together, alone, atol=1e-5)
