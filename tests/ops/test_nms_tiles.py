"""Greedy NMS over several tiles: exact at every threshold, in any order, in every dtype."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import oracles
from mnc_jax.ops.nms import greedy_nms, nms

# Three small tiles and the last not full; five large ones, likewise.
SIZES = ((150, 20), (1100, 70))
SEEDS = {150: 8, 1100: 2}  # the oracle is slow


@functools.partial(jax.jit, static_argnames=("max_outputs", "presorted"))
def _choose(boxes, scores, valid, iou_threshold, **options):
  return greedy_nms(boxes, scores, iou_threshold=iou_threshold, valid=valid, **options)


def _trial(seed, count, extent):
  """Boxes that often meet a threshold exactly, equal scores, NaN, invalid and empty rows."""
  rng = np.random.default_rng(seed)
  boxes = np.round(oracles.random_boxes(rng, count, extent, 2.0, 12.0))
  # The same box again, and empty ones.
  boxes[rng.integers(count, size=count // 10)] = boxes[rng.integers(count, size=count // 10)]
  boxes[rng.uniform(size=count) < 0.05, 2] = -100
  scores = np.round(rng.normal(size=count) * 20).astype(np.float32) / 20
  for value in (np.nan, -np.inf, np.inf, -0.0):
    scores[rng.uniform(size=count) < 0.03] = value
  return boxes, scores, rng.uniform(size=count) < 0.9


def _expected(boxes, scores, valid, threshold, max_outputs):
  """The chosen rows, and how many beyond them no chosen row suppresses."""
  usable = valid & ~np.isnan(scores) & (scores > -np.inf)
  chosen = oracles.greedy_nms(boxes, scores, threshold, max_outputs, usable)
  overlaps = oracles.box_iou(boxes, boxes)[chosen] > boxes.dtype.type(threshold)
  left = usable & ~overlaps.any(axis=0)
  left[chosen] = False
  return chosen, int(left.sum())


def _assert_chosen(kept, trial, threshold, max_outputs):
  chosen, truncated = _expected(*trial, threshold, max_outputs)
  assert np.asarray(kept.indices)[np.asarray(kept.valid)].tolist() == chosen
  np.testing.assert_array_equal(kept.valid, np.arange(max_outputs) < len(chosen))
  assert not np.asarray(kept.indices)[len(chosen):].any()
  assert int(kept.truncated) == truncated
  return len(chosen), truncated


@pytest.mark.parametrize("threshold", [-0.5, 0.0, 0.3, 0.5, 0.7, 1.0, 1.5])
@pytest.mark.parametrize("size", SIZES)
def test_several_tiles_against_the_oracle(size, threshold):
  count, extent = size
  reached = set()
  for seed in range(SEEDS[count]):
    trial = _trial(seed, count, extent)
    for max_outputs in (3, count // 10, 2 * count):
      kept = _choose(*trial, threshold, max_outputs=max_outputs)
      chosen, truncated = _assert_chosen(kept, trial, threshold, max_outputs)
      reached |= {"full"} if chosen == max_outputs else {"all rows"}
      reached |= {"truncated"} if truncated else set()
  assert reached == ({"all rows"} if threshold < 0 else {"full", "all rows", "truncated"})


def test_images_that_need_one_tile_and_all_tiles_share_a_batch():
  trials = [list(_trial(seed, 150, 20)) for seed in range(6)]
  trials[0][0] = np.tile(np.array([[0, 0, 9, 9]], np.float32), (150, 1))  # one box, all tiles
  trials[1][2] = np.zeros(150, bool)  # nothing
  trials[2][0] = oracles.random_boxes(np.random.default_rng(0), 150, 5000, 1, 2)  # one tile
  together = jax.vmap(lambda *trial: _choose(*trial, 0.5, max_outputs=12))(
      *(np.stack(column) for column in zip(*trials)))
  counts = [_assert_chosen(jax.tree.map(lambda x, i=i: x[i], together), trial, 0.5, 12)[0]
            for i, trial in enumerate(trials)]
  assert counts[:3] == [1, 0, 12]


@pytest.mark.parametrize("length", [64, 65, 200])
def test_a_chain_longer_than_a_tile(length):
  # Each box overlaps the next by half: every second one stays.
  left = np.arange(length, dtype=np.float32)
  boxes = np.stack([left, 0 * left, left + 2, 0 * left + 1], axis=1)
  kept = _choose(boxes, -left, np.ones(length, bool), 0.3, max_outputs=length)
  np.testing.assert_array_equal(
      np.asarray(kept.indices)[np.asarray(kept.valid)], np.arange(0, length, 2))


@pytest.mark.parametrize("size", SIZES)
def test_presorted_rows_are_not_sorted_again(size):
  boxes, scores, valid = _trial(3, *size)
  usable = valid & ~np.isnan(scores)
  order = np.lexsort((np.arange(size[0]), np.where(usable, -scores, np.inf)))
  sort = lambda presorted, rows: _choose(
      boxes[rows], scores[rows], valid[rows], 0.4, max_outputs=30, presorted=presorted)
  for a, b in zip(sort(False, order), sort(True, order), strict=True):
    np.testing.assert_array_equal(a, b)
  # The order is that of the rows, whatever the scores are, and unusable rows may be anywhere.
  kept = sort(True, slice(None))
  by_row = np.where(np.isnan(scores) | (scores == -np.inf), scores, -np.arange(size[0]))
  _assert_chosen(kept, (boxes, by_row, valid), 0.4, 30)


def test_float64_scores_and_overlaps_are_not_rounded():
  with jax.enable_x64(True):
    # IoU .5 + 1e-12 with the best; then scores that float32 cannot tell apart.
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 0.5 + 1e-12], [0, 0, 1, 0.5],
                      [5, 5, 6, 6], [5, 5, 6, 6]])
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.6 + 1e-12])
    indices, valid = jax.jit(lambda *trial: nms(*trial, iou_threshold=0.5, max_outputs=5))(
        boxes, scores)
  np.testing.assert_array_equal(indices, [0, 2, 4, 0, 0])
  np.testing.assert_array_equal(valid, [True] * 3 + [False] * 2)


def test_no_slots_count_all_usable_rows():
  kept = _choose(jnp.zeros((3, 4)), jnp.array([0.5, jnp.nan, 0.2]), np.ones(3, bool), 0.5,
                 max_outputs=0)
  assert kept.indices.shape == kept.valid.shape == (0,)
  assert int(kept.truncated) == 2
