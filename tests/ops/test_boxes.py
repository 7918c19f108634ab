"""Overlap, regression deltas, clipping."""

import math

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from helpers import oracles
from mnc_jax.ops import boxes as ops


def _boxes64(rng, count, smallest):
  return jnp.asarray(oracles.random_boxes(rng, count, 20, smallest, 16.0), jnp.float64)


def test_iou_by_hand():
  a = jnp.array([[0.0, 0.0, 2.0, 2.0]])
  b = jnp.array([[1, 0, 3, 2], [0, 0, 2, 2], [2, 0, 4, 2], [1, 1, 1, 2]])
  np.testing.assert_allclose(ops.box_iou(a, b), [[1 / 3, 1, 0, 0]], rtol=1e-6)


def test_iou_against_oracle():
  rng = np.random.default_rng(0)
  a, b = oracles.random_boxes(rng, 30, 50), oracles.random_boxes(rng, 20, 50)
  a[:8] = oracles.DEGENERATE_BOXES
  got = jax.jit(ops.box_iou)(a, b)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, oracles.box_iou(a, b), atol=2e-6)


def test_iou_of_empty_and_inverted_boxes_is_zero():
  boxes = oracles.DEGENERATE_BOXES[:4]
  image = jnp.array([[0.0, 0.0, 8.0, 8.0]])
  assert not np.any(ops.box_iou(boxes, boxes))
  assert not np.any(ops.box_iou(boxes, image))


@pytest.mark.parametrize("side", [1e-3, 1e-2, 1.0, 1e3])
def test_iou_of_a_box_with_itself_is_one_at_any_size(side):
  box = jnp.array([[0.0, 0.0, side, side]])
  np.testing.assert_allclose(ops.box_iou(box, box), [[1.0]], rtol=1e-6)


def test_encode_by_hand():
  anchor, box = jnp.array([[0.0, 0.0, 10.0, 20.0]]), jnp.array([[5.0, 5.0, 25.0, 10.0]])
  # Centres (5, 10) and (15, 7.5), sides (10, 20) and (20, 5).
  expected = np.array([[1.0, -0.125, math.log(2), math.log(0.25)]])
  np.testing.assert_allclose(ops.encode_boxes(box, anchor), expected, rtol=1e-6)
  scaled = ops.encode_boxes(box, anchor, stds=(0.1, 0.1, 0.2, 0.5))
  np.testing.assert_allclose(scaled, expected / np.array([[0.1, 0.1, 0.2, 0.5]]), rtol=1e-6)


def test_encode_against_oracle_and_decode_inverts_it():
  rng = np.random.default_rng(2)
  boxes, anchors = oracles.random_boxes(rng, 40, 100), oracles.random_boxes(rng, 40, 100)
  stds = (0.1, 0.1, 0.2, 0.2)
  deltas = jax.jit(ops.encode_boxes)(boxes, anchors)
  np.testing.assert_allclose(
      deltas, [oracles.encode(b, a) for b, a in zip(boxes, anchors)], rtol=1e-3, atol=1e-5)
  back = ops.decode_boxes(ops.encode_boxes(boxes, anchors, stds=stds), anchors, stds=stds)
  np.testing.assert_allclose(back, boxes, atol=2e-4)


def test_decode_clamps_growth_and_stops_its_gradient():
  anchor = jnp.array([[0.0, 0.0, 16.0, 16.0]])
  box = ops.decode_boxes(jnp.array([[0.0, 0.0, 50.0, 4.0]]), anchor)
  half = 8 * math.exp(4)
  np.testing.assert_allclose(box, [[-492, 8 - half, 508, 8 + half]], rtol=1e-5)
  right = lambda deltas: ops.decode_boxes(deltas, anchor)[0, 2]
  gradient = jax.grad(right)(jnp.array([[0.0, 0.0, 50.0, 0.0]]))
  np.testing.assert_allclose(gradient, [[16.0, 0.0, 0.0, 0.0]])


@pytest.mark.parametrize("transform", [ops.encode_boxes, ops.decode_boxes])
def test_coding_of_degenerate_boxes_is_finite(transform):
  first = np.repeat(oracles.DEGENERATE_BOXES, 8, axis=0)
  second = np.tile(oracles.DEGENERATE_BOXES, (8, 1))
  assert np.all(np.isfinite(transform(first, second)))
  total = lambda a, b: transform(a, b).sum()
  for gradient in jax.jit(jax.grad(total, argnums=(0, 1)))(first, second):
    assert np.all(np.isfinite(gradient))


def test_decode_of_a_zero_width_anchor():
  anchor = jnp.array([[5.0, 0.0, 5.0, 10.0]])
  deltas = jnp.array([[3.0, 0.0, 1.0, 0.0]])
  np.testing.assert_allclose(ops.decode_boxes(deltas, anchor), anchor, atol=1e-6)


def test_clip_by_hand_with_traced_sizes():
  boxes = jnp.array([[-5.0, -1.0, 30.0, 8.0], [40.0, 2.0, 50.0, 3.0]])
  traces = []
  @jax.jit
  def clip(boxes, height, width):
    traces.append(1)
    return ops.clip_boxes(boxes, height, width)
  np.testing.assert_array_equal(clip(boxes, 7, 20), [[0, 0, 20, 7], [20, 2, 20, 3]])
  np.testing.assert_array_equal(clip(boxes, 2, 45), [[0, 0, 30, 2], [40, 2, 45, 2]])
  assert len(traces) == 1


def test_inclusive_corners_by_hand():
  boxes = jnp.array([[[-3.0, 2, 20, 7], [4, 5, 6, 7]]])
  clip = jax.jit(ops.clip_corners)
  # Columns 0 ... 9 and rows 2 ... 7 of 8 x 10 pixels, then 4 ... 6 and 5 ... 7.
  np.testing.assert_array_equal(clip(boxes, 8, 10), [[[0, 2, 10, 8], [4, 5, 7, 8]]])
  np.testing.assert_array_equal(ops.corner_pixels(clip(boxes, 8, 10)),
                                [[[0, 2, 9, 7], [4, 5, 6, 7]]])
  slope = jax.grad(lambda b: clip(b, 8, 10).sum())(boxes)
  np.testing.assert_array_equal(slope, [[[0, 1, 0, 1], [1, 1, 1, 1]]])


def test_compiled_gradient_of_refining_clipping_and_overlap():
  rng = np.random.default_rng(6)
  with jax.enable_x64(True):
    anchors, ground_truth = _boxes64(rng, 40, 6.0), _boxes64(rng, 5, 6.0)
    deltas = jnp.asarray(rng.normal(size=(40, 4)) * 0.3)
    @jax.jit
    def overlap(deltas):
      return ops.box_iou(ops.clip_boxes(ops.decode_boxes(deltas, anchors), 20, 20), ground_truth)
    assert np.count_nonzero(overlap(deltas)) > 40
    check_grads(overlap, (deltas,), order=1, modes=["rev"], eps=1e-7, rtol=1e-5)


def test_clip_gradient_passes_inside_only():
  total = lambda boxes: ops.clip_boxes(boxes, 10, 10).sum()
  gradient = jax.grad(total)(jnp.array([[-5.0, 2.0, 10.0, 12.0]]))
  np.testing.assert_array_equal(gradient, [[0, 1, 1, 0]])  # on the edge it passes


def test_vmap_agrees_with_a_loop():
  rng = np.random.default_rng(4)
  a = oracles.random_boxes(rng, 12, 30).reshape(3, 4, 4)
  b = oracles.random_boxes(rng, 12, 30).reshape(3, 4, 4)
  for transform in map(jax.jit, (ops.box_iou, ops.encode_boxes, ops.decode_boxes)):
    together = jax.vmap(transform)(a, b)
    alone = np.stack([transform(x, y) for x, y in zip(a, b)])
    np.testing.assert_allclose(together, alone, rtol=2e-5)


def test_areas():
  np.testing.assert_allclose(
      ops.box_areas(oracles.DEGENERATE_BOXES[:7]), [0, 0, 0, 0, 100, 1e12, 64], rtol=1e-6)


def test_the_gradient_of_a_moved_and_clipped_box_pads_no_columns():
  boxes = jnp.array([[1.0, 2.0, 5.0, 6.0]])
  move = lambda deltas: ops.clip_boxes(
      ops.decode_boxes(deltas, boxes, stds=(0.1, 0.1, 0.2, 0.2)), 8, 8).sum()
  # One for each of (dx, dy) and (dw, dh).
  assert str(jax.make_jaxpr(jax.grad(move))(jnp.zeros((1, 4)))).count(" pad[") == 2
