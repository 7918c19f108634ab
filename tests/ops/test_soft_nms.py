"""soft-NMS."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import oracles
from mnc_jax.ops import nms as ops

soft_nms = jax.jit(ops.soft_nms, static_argnames="max_outputs")
COUNT, OUTPUTS, TRIALS = 40, 25, 60


def _trial(rng):
  """Crowded boxes, some with NaN, infinite or negative scores, invalid or empty."""
  boxes = oracles.random_boxes(rng, COUNT, 20, 2.0, 12.0)
  scores = rng.uniform(size=COUNT).astype(np.float32)
  for value in (np.nan, np.inf, -0.5):
    scores[rng.uniform(size=COUNT) < 0.03] = value
  boxes[rng.uniform(size=COUNT) < 0.05, 2] = -100
  return boxes, scores, rng.uniform(size=COUNT) < 0.9


@pytest.mark.parametrize(("sigma", "min_score"), [(0.5, 0.0), (0.1, 0.3)])
def test_against_the_oracle_batch_by_batch(sigma, min_score):
  traces = []
  @jax.jit
  def choose(*batch):
    traces.append(1)
    one = lambda boxes, scores, valid: soft_nms(
        boxes, scores, sigma=sigma, max_outputs=OUTPUTS, valid=valid, min_score=min_score)
    return jax.vmap(one)(*batch)

  rng, full = np.random.default_rng(0), 0
  for _ in range(2):
    trials = [_trial(rng) for _ in range(TRIALS // 2)]
    indices, scores, valid = choose(*map(np.stack, zip(*trials)))
    assert (indices.dtype, scores.dtype, valid.dtype) == (jnp.int32, jnp.float32, bool)
    for trial, *got in zip(trials, *map(np.asarray, (indices, scores, valid))):
      expected = oracles.soft_nms(trial[0], trial[1], sigma, OUTPUTS, trial[2], min_score)
      padding = [(0, 0.0)] * (OUTPUTS - len(expected))
      assert got[0].tolist() == [i for i, _ in expected + padding]
      np.testing.assert_allclose(got[1], [score for _, score in expected + padding], rtol=1e-5)
      np.testing.assert_array_equal(got[2], np.arange(OUTPUTS) < len(expected))
      full += len(expected) == OUTPUTS
  assert full == (TRIALS if min_score == 0 else 0)
  assert len(traces) == 1


def test_by_hand():
  # IoU with the first: .5, 0, 1; of the second with the last: .5.
  boxes = jnp.array([[0, 0, 10, 10], [0, 0, 10, 5], [20, 0, 30, 10], [0, 0, 10, 10]], jnp.float32)
  indices, scores, valid = soft_nms(
      boxes, jnp.array([0.9, 0.8, 0.6, 0.7]), sigma=0.5, max_outputs=5)
  # The second falls to .8 e^-.5 = .485, below the third; the last twice: .7 e^-2 e^-.5.
  np.testing.assert_array_equal(indices, [0, 2, 1, 3, 0])
  np.testing.assert_allclose(
      scores, [0.9, 0.6, 0.8 * np.exp(-0.5), 0.7 * np.exp(-2.5), 0], rtol=1e-6)
  np.testing.assert_array_equal(valid, [True] * 4 + [False])


def test_below_the_smallest_score_nothing_is_chosen():
  boxes = jnp.array([[0, 0, 10, 10], [0, 0, 10, 10], [20, 0, 30, 10]], jnp.float32)
  lowered = np.float32(0.8) * np.exp(np.float32(-2))
  for min_score, count in ((0.5, 2), (lowered - 1e-4, 3), (lowered + 1e-4, 2), (0.75, 2), (1, 0)):
    indices, scores, valid = soft_nms(boxes, jnp.array([0.9, 0.8, 0.75]), sigma=0.5,
                                      max_outputs=3, min_score=float(min_score))
    assert valid.sum() == count
    np.testing.assert_array_equal(indices, np.array([0, 2, 1]) * (np.arange(3) < count))
    assert not scores[count:].any()


def test_equal_scores_lower_index_first():
  boxes = jnp.array([[0, 0, 4, 4], [10, 0, 14, 4], [0, 0, 4, 4], [20, 0, 24, 4]], jnp.float32)
  indices, scores, valid = soft_nms(boxes, jnp.full(4, 0.5), sigma=0.5, max_outputs=4)
  np.testing.assert_array_equal(indices, [0, 1, 3, 2])
  np.testing.assert_allclose(scores, [0.5, 0.5, 0.5, 0.5 * np.exp(-2)], rtol=1e-6)
  assert valid.all()


def test_a_score_lowered_to_zero_is_never_chosen():
  # e^-200 is 0 in float32; 0 times an infinite score would be NaN, which is always the largest.
  boxes = jnp.array([[0, 0, 10, 10]] * 3 + [[20, 0, 30, 10]], jnp.float32)
  indices, scores, valid = soft_nms(
      boxes, jnp.array([0.9, 0.8, jnp.inf, 0.1]), sigma=0.005, max_outputs=4)
  np.testing.assert_array_equal(indices, [0, 3, 0, 0])
  np.testing.assert_allclose(scores, [0.9, 0.1, 0, 0])
  np.testing.assert_array_equal(valid, [True, True, False, False])


def test_an_empty_box_is_chosen_once():
  boxes = jnp.array([[5, 5, 5, 9], [0, 0, 10, 10]], jnp.float32)
  indices, scores, valid = soft_nms(boxes, jnp.array([0.9, 0.8]), sigma=0.5, max_outputs=3)
  np.testing.assert_array_equal(indices, [0, 1, 0])
  np.testing.assert_allclose(scores, [0.9, 0.8, 0])
  assert valid.sum() == 2


def test_nothing_to_choose_from():
  for count in (0, 3):
    indices, scores, valid = soft_nms(jnp.zeros((count, 4)), jnp.full(count, jnp.nan), sigma=0.5,
                                      max_outputs=2)
    assert not indices.any() and not scores.any() and not valid.any()


def test_padding_never_changes_the_choice():
  boxes, scores, valid = _trial(np.random.default_rng(5))
  options = {"sigma": 0.5, "max_outputs": OUTPUTS}
  plain = soft_nms(boxes, scores, valid=valid, **options)
  padded = soft_nms(np.concatenate([boxes, np.full((9, 4), np.nan, np.float32)]),
                    np.concatenate([scores, np.full(9, 2.0, np.float32)]),
                    valid=np.concatenate([valid, np.zeros(9, bool)]), **options)
  jax.tree.map(np.testing.assert_array_equal, plain, padded)


def test_no_gradient_through_the_choice_but_through_the_chosen():
  boxes = jnp.array([[0, 0, 10, 10], [1, 0, 10, 10], [20, 0, 30, 10]], jnp.float32)
  def total(boxes, scores):
    indices, lowered, valid = soft_nms(boxes, scores, sigma=0.5, max_outputs=3)
    return jnp.sum(jnp.where(valid[:, None], boxes[indices], 0.0)) + lowered.sum()
  by_boxes, by_scores = jax.grad(total, argnums=(0, 1))(boxes, jnp.array([0.9, 0.8, 0.7]))
  np.testing.assert_array_equal(by_boxes, np.ones((3, 4)))
  np.testing.assert_array_equal(by_scores, np.zeros(3))


def test_boxes_in_float64_with_scores_in_float32():
  boxes, scores, valid = _trial(np.random.default_rng(3))
  with jax.enable_x64(True):
    mixed, wide = (ops.soft_nms(np.float64(boxes), x, sigma=0.5, max_outputs=OUTPUTS, valid=valid)
                   for x in (scores, np.float64(scores)))
  assert mixed[1].dtype == np.float64
  jax.tree.map(np.testing.assert_array_equal, mixed, wide)
