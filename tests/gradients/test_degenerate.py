"""Gradients stay finite where a difference quotient means nothing: kinks, ties, nothing at all."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradients import operations, whole
from gradients.differences import generator, stack, weigh
from helpers import oracles, tiny
from mnc_jax.model.cascade import cascade_loss
from mnc_jax.ops.masks import mask_iou_in_box

DTYPES = ("float32", "float64")
BOXES = oracles.DEGENERATE_BOXES
"""Zero-width, zero-height, a point, inverted, outside, far outside, the image, hardly there."""


def is_box(x):
  return x.ndim == 2 and x.shape[1] == 4


def replaced_boxes(arguments):
  """Returns versions of a row's arguments: degenerate boxes in one or all of its boxes."""
  positions = [i for i, x in enumerate(arguments) if isinstance(x, np.ndarray) and is_box(x)]
  shifts = itertools.product(range(0, len(BOXES), 2), repeat=len(positions))
  for shift in shifts if positions else ():
    changed = list(arguments)
    for position, start in zip(positions, shift):
      count = len(arguments[position])
      changed[position] = np.resize(np.roll(BOXES, -start, axis=0), (count, 4)).astype(np.float64)
    yield tuple(changed)


def equal_inputs(row, point):
  """Returns versions of a row's arguments in which what is differentiated is one number."""
  for value in (0.0, 1.0, -2.0):
    yield tuple(np.full_like(x, value) if i in row.wrt else x for i, x in enumerate(point))


def cast(tree, dtype):
  narrow = lambda x: x.astype(dtype) if x.dtype.kind == "f" else x
  return jax.tree.map(lambda x: narrow(np.asarray(x)), tree)


def check_finite_gradients(row, cases, dtype):
  """Differentiates a row at all cases at once: one program for all of them."""
  with jax.enable_x64(dtype == "float64"):
    cases = [cast(case, dtype) for case in cases]
    gradient = jax.grad(lambda *arguments: weigh(row.call(*arguments)), row.wrt)
    together = jax.device_get(jax.jit(jax.vmap(gradient))(*stack(cases)))
    for x in jax.tree.leaves(together):
      assert x.dtype == dtype
      bad = [number for number in range(len(cases)) if not np.isfinite(x[number]).all()]
      assert not bad, [cases[number] for number in bad[:1]]


def has_boxes(row):
  return any(is_box(np.asarray(x)) for x in row.draw(generator(row.name)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", operations.ROWS, ids=str)
def test_degenerate_boxes_and_all_equal_and_all_zero_inputs(row, dtype):
  point = row.draw(generator(row.name))
  boxes = list(replaced_boxes(point))
  assert len(boxes) >= 4 if has_boxes(row) else not boxes
  check_finite_gradients(row, [*boxes, *equal_inputs(row, point)], dtype)


def test_most_rows_have_boxes():
  assert sum(map(has_boxes, operations.ROWS)) >= 31


@pytest.mark.parametrize("side", [1e-3, 1e-10, 1e-12])
def test_overlap_of_masks_in_boxes_of_hardly_any_size(side):
  half = jnp.full((1, 2, 2), 0.5)
  gradients = jax.jit(jax.grad(lambda *inputs: mask_iou_in_box(*inputs).sum(), (0, 1, 2, 3)))(
      half, half + 0.2, jnp.array([[0.0, 0.0, side, side]]), jnp.zeros(1))
  assert all(np.isfinite(x).all() for x in gradients)


@functools.cache
def compiled(dtype, grid, method):
  """Returns the gradient of every loss of the cascade, compiled once for all cases."""
  config = whole.config(compute_dtype=dtype, roi_grid=grid, roi_method=method)
  terms = lambda params, batch, key: cascade_loss(params, batch, key, config=config)[1]
  return jax.jit(jax.value_and_grad(lambda *inputs: (lambda m: (m["loss"], m))(terms(*inputs)),
                                    has_aux=True))


def no_gt(params, batch):
  return params, batch._replace(valid=jnp.zeros_like(batch.valid))


def no_positive_roi(params, batch):
  # Objects of a pixel, whose own boxes are crowd regions and so no RoI.
  tiny_boxes = batch.boxes.at[..., 2:].set(batch.boxes[..., :2] + 1)
  return params, batch._replace(boxes=tiny_boxes, crowd=batch.valid)


def single_instance(params, batch):
  return params, batch._replace(valid=jnp.arange(batch.valid.shape[1])[None] < 1)


def equal_scores(params, batch):
  # Objectness, categories and masks without weights: every anchor and category ties.
  for stage, layers in (("box_stage", ("objectness",)), ("mask_stage", ("mask",)),
                        ("category_stage", ("category", "box_category"))):
    zeros = {layer: jax.tree.map(jnp.zeros_like, params[stage][layer]) for layer in layers}
    params = params | {stage: params[stage] | zeros}
  return params, batch


def equal_features(params, batch):
  # One grey: all samples of a RoI, and all of its maxima, tie.
  return params, batch._replace(images=jnp.full_like(batch.images, 128))


def only_padding(params, batch):
  return params, jax.tree.map(jnp.zeros_like, batch)


def gt_boxes(row):
  def change(params, batch):
    return params, batch._replace(boxes=jnp.broadcast_to(
        jnp.asarray(BOXES[row], batch.boxes.dtype), batch.boxes.shape))
  change.__name__ = f"gt_box_{row}"
  return change


CASES = (no_gt, no_positive_roi, single_instance, equal_scores, equal_features, only_padding,
         *map(gt_boxes, (0, 3, 4, 6)))


@pytest.mark.parametrize("dtype, grid, method", [
    ("float32", "edge", "matmul"), ("float64", "center", "gather")])
def test_the_whole_cascade(dtype, grid, method):
  with jax.enable_x64(dtype == "float64"):
    start = cast(whole.params(), dtype)
    for case in CASES:
      params, batch = case(start, tiny.make_batch(1))
      (_, terms), gradient = jax.device_get(
          compiled(dtype, grid, method)(params, batch, jax.random.key(1)))
      for name, value in terms.items():
        assert value.dtype == dtype and np.isfinite(value), (case.__name__, name)
      for x in jax.tree.leaves(gradient):
        assert x.dtype == dtype and np.isfinite(x).all(), case.__name__
      size = sum(float(np.abs(x).sum()) for x in jax.tree.leaves(gradient))
      assert (size == 0) == (case is only_padding), case.__name__
