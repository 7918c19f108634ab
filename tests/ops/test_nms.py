"""Greedy NMS."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import oracles
from mnc_jax.ops import nms as ops

nms = jax.jit(ops.nms, static_argnames="max_outputs")
COUNT, OUTPUTS, TRIALS = 60, 25, 200


def _trial(rng):
  """Boxes that often meet a threshold exactly, equal scores, NaN, invalid and empty rows."""
  boxes = oracles.random_boxes(rng, COUNT, 20, 2.0, 12.0)
  if rng.uniform() < 0.5:
    boxes = np.round(boxes)
  scores = rng.uniform(size=COUNT).astype(np.float32)
  if rng.uniform() < 0.5:
    scores = np.round(scores * 8) / 8
  scores[rng.uniform(size=COUNT) < 0.05] = np.nan
  boxes[rng.uniform(size=COUNT) < 0.05, 2] = -100
  return boxes, scores, rng.uniform(size=COUNT) < 0.9


@pytest.fixture(scope="module")
def batched_nms():
  def choose(boxes, scores, valid, threshold):
    return nms(boxes, scores, iou_threshold=threshold, max_outputs=OUTPUTS, valid=valid)
  return jax.jit(jax.vmap(choose, in_axes=(0, 0, 0, None)))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_against_greedy_oracle(batched_nms, threshold):
  rng = np.random.default_rng(int(threshold * 10))
  trials = [_trial(rng) for _ in range(TRIALS)]
  indices, valid = batched_nms(*(np.stack(column) for column in zip(*trials)), threshold)
  assert indices.dtype == jnp.int32 and valid.dtype == bool
  full = 0
  for trial, got, slots in zip(trials, np.asarray(indices), np.asarray(valid)):
    expected = oracles.greedy_nms(trial[0], trial[1], threshold, OUTPUTS, trial[2])
    assert got[slots].tolist() == expected
    assert slots.tolist() == [i < len(expected) for i in range(OUTPUTS)]
    assert not got[~slots].any()
    full += len(expected) == OUTPUTS
  # The trials cover what they should: some fill every slot or leave some, by threshold.
  assert full < TRIALS if threshold == 0.3 else full > 0


def test_by_hand():
  boxes = jnp.array([[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 6], [20, 0, 30, 10]], jnp.float32)
  scores = jnp.array([0.9, 0.8, 0.7, 0.6])
  indices, valid = nms(boxes, scores, iou_threshold=0.5, max_outputs=5)
  # IoU with the first: exactly .5 stays; .6 goes.
  np.testing.assert_array_equal(indices, [0, 1, 3, 0, 0])
  np.testing.assert_array_equal(valid, [True, True, True, False, False])


def test_equal_scores_lower_index_first():
  boxes = jnp.array([[0, 0, 4, 4], [10, 0, 14, 4], [0, 0, 4, 4], [20, 0, 24, 4]], jnp.float32)
  indices, valid = nms(boxes, jnp.full(4, 0.5), iou_threshold=0.5, max_outputs=4)
  np.testing.assert_array_equal(indices, [0, 1, 3, 0])
  assert valid.sum() == 3


def test_nan_scores_infinite_scores_and_invalid_rows_are_never_chosen():
  boxes = oracles.random_boxes(np.random.default_rng(0), 4, 1000, 1.0, 2.0)
  scores = jnp.array([jnp.nan, 0.1, -jnp.inf, 0.9])
  indices, valid = nms(boxes, scores, iou_threshold=0.5, max_outputs=3,
                       valid=jnp.array([True, True, True, False]))
  np.testing.assert_array_equal(indices, [1, 0, 0])
  np.testing.assert_array_equal(valid, [True, False, False])


@pytest.mark.parametrize("choose", [
    functools.partial(nms, iou_threshold=0.5), functools.partial(ops.soft_nms, sigma=0.5)])
def test_boxes_with_a_nan_are_never_chosen(choose):
  boxes = jnp.array([[0, 0, jnp.nan, 4], [0, 0, 4, 4], [jnp.nan] * 4])
  indices, *_, valid = choose(boxes, jnp.array([0.9, 0.8, 0.7]), max_outputs=3)
  np.testing.assert_array_equal(indices, [1, 0, 0])
  np.testing.assert_array_equal(valid, [True, False, False])


def test_negative_scores_are_scores():
  boxes = jnp.array([[0, 0, 1, 1], [5, 5, 6, 6]], jnp.float32)
  indices, valid = nms(boxes, jnp.array([-3.0, -2.0]), iou_threshold=0.5, max_outputs=2)
  np.testing.assert_array_equal(indices, [1, 0])
  assert valid.all()


def test_nothing_to_choose_from():
  for count in (0, 3):
    indices, valid = nms(jnp.zeros((count, 4)), jnp.full(count, jnp.nan), iou_threshold=0.5,
                         max_outputs=2)
    assert not indices.any() and not valid.any()


def test_padding_never_changes_the_choice():
  boxes, scores, valid = _trial(np.random.default_rng(5))
  plain = nms(boxes, scores, iou_threshold=0.5, max_outputs=OUTPUTS, valid=valid)
  padded = nms(np.concatenate([boxes, np.full((9, 4), np.nan, np.float32)]),
               np.concatenate([scores, np.full(9, 2.0, np.float32)]), iou_threshold=0.5,
               max_outputs=OUTPUTS, valid=np.concatenate([valid, np.zeros(9, bool)]))
  np.testing.assert_array_equal(plain, padded)


def test_no_gradient_through_the_choice_but_through_the_chosen():
  boxes = jnp.array([[0, 0, 10, 10], [1, 0, 10, 10], [20, 0, 30, 10]], jnp.float32)
  def kept_sum(boxes, scores):
    indices, valid = nms(boxes, scores, iou_threshold=0.5, max_outputs=3)
    return jnp.sum(jnp.where(valid[:, None], boxes[indices], 0.0))
  by_boxes, by_scores = jax.grad(kept_sum, argnums=(0, 1))(boxes, jnp.array([0.9, 0.8, 0.7]))
  np.testing.assert_array_equal(by_boxes, np.array([[1] * 4, [0] * 4, [1] * 4]))
  np.testing.assert_array_equal(by_scores, np.zeros(3))


def test_traced_once_for_many_batches():
  traces = []
  @jax.jit
  def choose(boxes, scores):
    traces.append(1)
    return nms(boxes, scores, iou_threshold=0.5, max_outputs=5)
  for seed in range(4):
    rng = np.random.default_rng(seed)
    choose(oracles.random_boxes(rng, 20, 10), rng.uniform(size=20).astype(np.float32))
  assert len(traces) == 1


def test_boxes_beyond_max_outputs_are_counted():
  boxes = jnp.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [20, 0, 30, 9],
                     [0, 0, 1, 1]])
  scores = jnp.array([0.9, 0.8, 0.7, 0.6, jnp.nan])
  for slots, truncated in ((1, 2), (2, 0), (5, 0)):
    kept, (indices, valid) = jax.jit(lambda slots=slots: tuple(
        choose(boxes, scores, iou_threshold=0.5, max_outputs=slots)
        for choose in (ops.greedy_nms, ops.nms)))()
    assert int(kept.truncated) == truncated
    np.testing.assert_array_equal(kept.indices, indices)
    np.testing.assert_array_equal(kept.valid, valid)


def test_valid_rows_may_be_any_number_but_0():
  boxes = jnp.array([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
  rows, options = (boxes, jnp.array([0.9, 0.8, 0.7])), {
      "max_outputs": 3, "valid": np.array([2, 0, 255])}
  for indices, *_, valid in (
      ops.nms(*rows, iou_threshold=0.5, **options), ops.soft_nms(*rows, sigma=0.5, **options),
      ops.greedy_nms(*rows, iou_threshold=0.5, **options)[:2]):
    assert (indices.tolist(), valid.tolist()) == ([0, 2, 0], [True, True, False])
