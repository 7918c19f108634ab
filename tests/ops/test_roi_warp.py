"""RoI warping, and warping with pooling. More of their gradients: `tests/gradients`."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import oracles
from mnc_jax.ops import roi_warp as ops

_STATIC = ("size", "pool", "stride", "grid", "method", "border", "chunk")
roi_warp = jax.jit(ops.roi_warp, static_argnames=[n for n in _STATIC if n not in ("pool", "chunk")])
roi_pool = jax.jit(ops.roi_pool, static_argnames=_STATIC)

GRIDS, METHODS = ("center", "edge", "caffe"), ("gather", "matmul")
# Rows and columns of a map of 8 x 8 pixels' worth at stride 2, wider or higher.
SHAPES = ((5, 7, 3), (8, 4, 2))


def _column_ramp(height=4, width=6):
  return jnp.broadcast_to(jnp.arange(width, dtype=jnp.float32)[None, :, None], (height, width, 1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grid, expected", [
    # x1 = 3, x2 = 7, stride 2: centres of two cells at 4 and 6 pixels, less half a cell.
    ("center", [1.5, 2.5]),
    # 3 / 2 and 5 / 2.
    ("edge", [1.5, 2.5]),
    # r(1.5) = 2, r(3.5) = 4: samples at 2 and 3.
    ("caffe", [2.0, 3.0]),
])
def test_by_hand(grid, expected, method):
  box = jnp.array([[3.0, 2.0, 7.0, 6.0]])
  warped = roi_warp(_column_ramp(), box, size=2, stride=2, grid=grid, method=method)
  np.testing.assert_allclose(warped[0, :, :, 0], [expected, expected], rtol=1e-6)


def test_grids_differ():
  box = jnp.array([[2.0, 2.0, 8.0, 6.0]])
  center, edge = (roi_warp(_column_ramp(), box, size=2, stride=1, grid=g)[0, 0, :, 0]
                  for g in ("center", "edge"))
  np.testing.assert_allclose(center, [3.0, 0.0])  # 2 + 1.5 - .5, and 6.0 outside the map
  np.testing.assert_allclose(edge, [2.0, 5.0])


def test_warping_the_whole_map_returns_it():
  features = jax.random.normal(jax.random.key(0), (6, 6, 3))
  warped = roi_warp(features, jnp.array([[0.0, 0.0, 24.0, 24.0]]), size=6, stride=4)
  np.testing.assert_allclose(warped[0], features, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grid", GRIDS)
def test_against_oracle(grid, method, shape):
  rng = np.random.default_rng(0)
  features = rng.normal(size=shape).astype(np.float32)
  boxes = np.concatenate([oracles.random_boxes(rng, 20, 14), oracles.DEGENERATE_BOXES])
  warped = roi_warp(features, boxes, size=4, stride=2, grid=grid, method=method)
  assert warped.dtype == jnp.float32
  expected = oracles.roi_warp(features, boxes, 4, 2, grid)
  assert np.abs(expected[:20]).max() > 1
  np.testing.assert_allclose(warped, expected, atol=2e-5)


def test_outside_the_map():
  ones = jnp.ones((4, 4, 1))
  # Samples at -.5 and .5 along x: half the weight of the first is outside.
  box = jnp.array([[-0.5, 1.0, 1.5, 3.0]])
  np.testing.assert_allclose(
      roi_warp(ones, box, size=2, stride=1)[0, :, :, 0], [[0.5, 1.0], [0.5, 1.0]])
  # Corners -1 ... 5, six samples: -1 and 4 are 0, the others count whole.
  box = jnp.array([[-1.0, 0.0, 5.0, 6.0]])
  caffe = roi_warp(ones, box, size=6, stride=1, grid="caffe")[0, 0, :, 0]
  np.testing.assert_array_equal(caffe, [0, 1, 1, 1, 1, 0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grid", GRIDS)
def test_cells_outside_the_image_change_nothing(grid, method):
  rng = np.random.default_rng(9)
  features = rng.normal(size=(5, 7, 2)).astype(np.float32)
  padded = np.pad(features, ((0, 3), (0, 4), (0, 0)))
  # Boxes that end at, near and beyond the last cell, 10 x 14 pixels.
  boxes = np.concatenate([oracles.random_boxes(rng, 12, 14), [[9, 5, 14, 10], [11, 3, 17, 12]]])
  pool = functools.partial(roi_pool, size=3, pool=2, stride=2, grid=grid, method=method, chunk=5)
  found = pool(padded, boxes, cells=jnp.array([5, 7]))
  np.testing.assert_allclose(found, pool(features, boxes), atol=1e-6)
  changed = np.abs(found - pool(padded, boxes)).max()
  assert changed > 0.1 if grid == "caffe" else changed == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grid", ("center", "edge"))
def test_clamped_samples_read_the_border_cell(grid, method):
  # 5 whole rows and 6 whole columns of stride 16; the image ends in the middle of the next cells.
  image, features = (88, 104), np.zeros((7, 9, 1), np.float32)
  features[:5, :6] = np.arange(1, 31).reshape(5, 6, 1)
  boxes = jnp.array([[0.0, 0.0, 104, 88], [64, 56, 104, 88], [98, 0, 104, 0], [0, 80, 9, 88]])
  warp = functools.partial(
      roi_warp, boxes=boxes, size=8, stride=16, grid=grid, method=method, border="clamp",
      cells=jnp.array([5, 6]))
  np.testing.assert_allclose(warp(jnp.asarray(features > 0, jnp.float32)), 1.0, atol=1e-6)
  found = warp(features)[..., 0]
  np.testing.assert_allclose(found[2], np.full((8, 8), 6.0), rtol=1e-6)  # the corner cell alone
  np.testing.assert_allclose(found[0, -1, -1], 30.0, rtol=1e-6)
  # The same as repeating the border cells and reading without an end.
  repeated = np.pad(features[:5, :6], ((2, 2), (2, 2), (0, 0)), mode="edge")
  shifted = roi_warp(repeated, boxes + 32.0, size=8, stride=16, grid=grid, method=method)
  np.testing.assert_allclose(found, shifted[..., 0], rtol=1e-5)
  assert image == (boxes[0, 3], boxes[0, 2])


@pytest.mark.parametrize("options", [{"grid": "caffe"}, {"border": "clamp"}])
def test_an_image_without_cells_gives_zeros(options):
  warped = roi_warp(jnp.ones((4, 4, 1)), jnp.array([[0.0, 0, 2, 2], [-1.0, -1, 1, 1]]), size=2,
                    stride=1, cells=jnp.zeros(2, jnp.int32), **options)
  assert not warped.any()


@pytest.mark.parametrize("method", METHODS)
def test_rounding_passes_the_gradient_of_the_rounded_box(method):
  features = jax.random.normal(jax.random.key(7), (6, 7, 3))
  weights = jax.random.normal(jax.random.key(8), (2, 3, 3, 3))
  boxes = jnp.array([[3.3, 2.2, 7.4, 8.6], [1.7, 4.4, 9.1, 6.9]])
  def total(boxes, grid):
    warped = roi_warp(features, boxes, size=3, stride=2, grid=grid, method=method)
    return jnp.sum(weights * warped)
  gradient = jax.jit(jax.grad(total), static_argnums=1)
  rounded = 2 * jnp.floor(boxes / 2 + 0.5)
  np.testing.assert_allclose(total(boxes, "caffe"), total(rounded, "edge"), rtol=1e-6)
  np.testing.assert_allclose(gradient(boxes, "caffe"), gradient(rounded, "edge"), rtol=1e-5)
  assert jnp.abs(gradient(boxes, "caffe")).min() > 0.01


@pytest.mark.parametrize("method", METHODS)
def test_slope_at_whole_positions(method):
  # Samples at exactly 1, 2, 3 cells; moving the box moves each of the 9 samples as much.
  box = jnp.array([[1.0, 0.5, 4.0, 3.5]])
  total = lambda b: roi_warp(_column_ramp(), b, size=3, stride=1, grid="edge", method=method).sum()
  gradient = jax.grad(total)(box)[0]
  np.testing.assert_allclose(gradient[0] + gradient[2], 9.0, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("grid", "border"), [("caffe", "zero"), ("edge", "clamp")])
def test_slope_at_the_last_centre_is_that_beyond_it(grid, border, method):
  """A sample at exactly 3, where samples are clamped to: the warp of a ramp ends there."""
  total = lambda box: roi_warp(_column_ramp(4, 4), box[None], size=4, stride=1, grid=grid,
                               method=method, border=border).sum()
  gradient = jax.grad(total)(jnp.array([0.0, 0.0, 4.0, 4.0]))
  # Columns at u / 4 of the box for u = 1 and 2, in four rows each: d / d x2 = 4 (1 / 4 + 2 / 4).
  np.testing.assert_allclose(gradient, [4 * (1 + 3 / 4 + 2 / 4), 0, 3, 0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_feature_gradient_of_bfloat16_does_not_depend_on_the_chunk(method):
  """It is rounded once, not after each chunk."""
  rng = np.random.default_rng(0)
  corners = rng.uniform(0, 20, (64, 2))
  boxes = jnp.asarray(np.concatenate([corners, corners + 16], 1), jnp.float32)
  features = jnp.asarray(rng.normal(size=(12, 12, 3)), jnp.bfloat16)
  gradients = [jax.grad(lambda features, chunk=chunk: roi_pool(
      features, boxes, size=3, pool=2, stride=4, method=method, chunk=chunk).astype(
          jnp.float32).sum())(features) for chunk in (2, 64)]
  np.testing.assert_array_equal(*(np.asarray(x, np.float32) for x in gradients))


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_features_keep_their_dtype(method):
  features = jax.random.normal(jax.random.key(0), (5, 7, 3))
  boxes = oracles.random_boxes(np.random.default_rng(2), 6, 12)
  exact = roi_warp(features, boxes, size=4, stride=2, method=method)
  coarse = roi_warp(features.astype(jnp.bfloat16), boxes, size=4, stride=2, method=method)
  assert coarse.dtype == jnp.bfloat16
  np.testing.assert_allclose(coarse.astype(jnp.float32), exact, atol=0.06)


@pytest.mark.parametrize("method", ["gather", "matmul"])
def test_the_box_gradient_of_pooled_bfloat16_features_is_exact(method):
  # bfloat16 numbers, with samples that would be equal if they were rounded before the maximum.
  rng = np.random.default_rng(5)
  features = jnp.asarray(4 + 0.05 * rng.normal(size=(12, 14, 16)), jnp.bfloat16)
  boxes = oracles.random_boxes(rng, 9, 24.0, 4.0)
  weights = jnp.asarray(rng.choice([-1.0, 1.0], (9, 4, 4, 16)), jnp.float32)
  pool = functools.partial(roi_pool, size=4, pool=2, stride=2, method=method, chunk=4)
  gradient = jax.jit(jax.grad(lambda boxes, features: jnp.sum(weights * pool(features, boxes))))
  rounded, exact = gradient(boxes, features), gradient(boxes, features.astype(jnp.float32))
  np.testing.assert_allclose(rounded, exact, rtol=0, atol=1e-6 * np.abs(exact).max())


@pytest.mark.parametrize("method", METHODS)
def test_pool_is_the_maximum_of_the_samples(method):
  features = jax.random.normal(jax.random.key(1), (5, 7, 3))
  boxes = oracles.random_boxes(np.random.default_rng(3), 7, 12)
  pool = lambda chunk: roi_pool(
      features, boxes, size=3, pool=2, stride=2, method=method, chunk=chunk)
  samples = oracles.roi_warp(np.asarray(features), boxes, 6, 2, "center")
  expected = samples.reshape(7, 3, 2, 3, 2, 3).max(axis=(2, 4))
  for chunk in (3, 7):
    np.testing.assert_allclose(pool(chunk), expected, atol=2e-5)


@pytest.mark.parametrize("method", METHODS)
def test_pool_gradient_against_finite_differences_when_compiled(method):
  # Compiled as one function with its backward pass: there jnp.max loses box gradients.
  rng = np.random.default_rng(4)
  with jax.enable_x64(True):
    features = jnp.asarray(rng.normal(size=(5, 7, 3)))
    boxes = jnp.asarray(oracles.random_boxes(rng, 5, 12), jnp.float64)
    def total(boxes):
      pooled = ops.roi_pool(features, boxes, size=3, pool=2, stride=2, method=method, chunk=2)
      return jnp.sum(pooled ** 2)
    value_and_gradient = jax.jit(jax.value_and_grad(total))
    gradient = value_and_gradient(boxes)[1]
    for i in range(5):
      step = np.zeros((5, 4))
      step[i] = rng.normal(size=4) * 1e-6
      slope = (value_and_gradient(boxes + step)[0] - value_and_gradient(boxes - step)[0]) / 2
      np.testing.assert_allclose(np.sum(gradient * step), slope, rtol=1e-3, atol=1e-12)
      assert abs(slope) > 1e-8


def test_vmap_agrees_with_a_loop_and_traces_once():
  rng = np.random.default_rng(5)
  features = rng.normal(size=(3, 5, 7, 2)).astype(np.float32)
  boxes = oracles.random_boxes(rng, 15, 12).reshape(3, 5, 4)
  traces = []
  @jax.jit
  def pool(features, boxes):
    traces.append(1)
    pool_one = functools.partial(ops.roi_pool, size=2, pool=2, stride=2, chunk=2)
    return jax.vmap(pool_one)(features, boxes)
  together = pool(features, boxes)
  pool(features, boxes + 1)
  assert len(traces) == 1
  alone = [roi_pool(f, b, size=2, pool=2, stride=2) for f, b in zip(features, boxes)]
  np.testing.assert_allclose(together, alone, atol=1e-5)


def test_more_boxes_do_not_change_the_others():
  features = jax.random.normal(jax.random.key(3), (5, 7, 3))
  boxes = oracles.random_boxes(np.random.default_rng(6), 5, 12)
  padded = np.concatenate([boxes, np.zeros((4, 4), np.float32)])
  pool = functools.partial(roi_pool, features, size=2, pool=2, stride=2, chunk=4)
  np.testing.assert_allclose(pool(padded)[:5], pool(boxes), atol=1e-6)


@pytest.mark.parametrize("argument", ["grid", "method", "border"])
def test_an_unknown_choice_is_named(argument):
  with pytest.raises(ValueError, match=f"{argument} is 'nearest'"):
    roi_warp(jnp.ones((2, 2, 1)), jnp.ones((1, 4)), size=2, stride=1, **{argument: "nearest"})


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_the_winners_are_found_once_and_kept_for_the_gradient(platform):
  gradient = jax.jit(jax.grad(lambda boxes: ops.roi_pool(
      jnp.ones((5, 7, 3)), boxes, size=3, pool=2, stride=2, chunk=2).sum()))
  program = gradient.trace(jnp.ones((6, 4))).lower(lowering_platforms=(platform,)).as_text()
  # Four samples per cell: three comparisons, which a second search would double.
  assert len(re.findall(r"compare +GT, .*\(tensor<2x3x3x3xf32>", program)) == 3


def test_accelerators_multiply_without_merging_axes():
  pool = jax.jit(lambda features, boxes: ops.roi_pool(
      features, boxes, size=3, pool=2, stride=2, method="matmul"))
  def shapes(platform):
    program = pool.trace(jnp.ones((5, 7, 3)), jnp.ones((4, 4))).lower(
        lowering_platforms=(platform,)).as_text()
    return re.findall(r"dot_general .* -> tensor<(.*)xf32>", program)
  assert shapes("tpu")[0] == "4x6x5x3"
  assert shapes("cpu")[0] == "24x15"


@pytest.mark.parametrize("shape", [(5, 9), (9, 5)])
def test_accelerators_have_the_numbers_of_the_cpu(monkeypatch, shape):
  # Their branches never run here otherwise.
  rng = np.random.default_rng(0)
  features = rng.normal(size=(*shape, 3)).astype(np.float32)
  boxes = rng.uniform(0, 8, (3, 4)).astype(np.float32).cumsum(axis=1)
  def warp_with_gradients():
    pool = lambda features, boxes: ops.roi_pool(
        features, boxes, size=3, pool=2, stride=2, method="matmul", chunk=2)
    pooled, backward = jax.vjp(pool, features, boxes)
    return pooled, *backward(jnp.sin(jnp.arange(pooled.size)).reshape(pooled.shape))
  expected, branches = warp_with_gradients(), []
  def on_accelerator(*operands, cpu, default):
    branches.append(cpu)
    return default(*operands)
  monkeypatch.setattr(jax.lax, "platform_dependent", on_accelerator)
  for found, value in zip(warp_with_gradients(), expected, strict=True):
    np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-5)
  assert len(branches) >= 3  # The product, the maximum and its gradient.


@pytest.mark.parametrize("warp", [ops.roi_warp, functools.partial(ops.roi_pool, pool=2)])
@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_features_that_would_truncate_their_samples_are_rejected(warp, dtype):
  message = rf"features are {dtype}, must be float.* features\.astype\(jnp\.float32\)"
  with pytest.raises(TypeError, match=message):
    warp(np.ones((4, 4, 1), dtype), jnp.ones((1, 4)), size=2, stride=1)


def test_features_of_numpy_in_float64_are_those_in_float32():
  features, box = np.random.default_rng(0).normal(size=(4, 4, 2)), jnp.array([[0.3, 0.6, 3.0, 2.0]])
  for warp in (ops.roi_warp, functools.partial(ops.roi_pool, pool=2)):
    ours, theirs = (warp(x, box, size=2, stride=1) for x in (features, np.float32(features)))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("method", METHODS)
def test_no_boxes_have_no_features_and_no_gradient(method):
  options = {"size": 3, "stride": 2, "method": method}
  for warp in (roi_warp, functools.partial(roi_pool, pool=2)):
    total = lambda features, boxes, warp=warp: (
        lambda x: (x.sum(), x.shape))(warp(features, boxes, **options))
    gradient, shape = jax.grad(total, has_aux=True)(jnp.ones((5, 7, 4)), jnp.ones((0, 4)))
    assert shape == (0, 3, 3, 4)
    np.testing.assert_array_equal(gradient, np.zeros((5, 7, 4)))


def test_pooling_is_differentiated_by_reverse_mode_only():
  pool = lambda boxes: ops.roi_pool(jnp.ones((4, 4, 1)), boxes, size=2, pool=2, stride=1).sum()
  with pytest.raises(TypeError, match="forward-mode"):
    jax.jacfwd(pool)(jnp.ones((1, 4)))
