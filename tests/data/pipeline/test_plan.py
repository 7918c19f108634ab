"""Plans of batches: each image as often as it should come, from one bucket at a time."""

import numpy as np
import pytest

from mnc_jax.data.pipeline import plan as planning

BUCKETS = np.array([0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0])  # Eight and four.


def _epoch(plan, epoch):
  first = epoch * plan.batches_per_epoch
  return [planning.training_rows(plan, first + k)[0] for k in range(plan.batches_per_epoch)]


def test_an_epoch_has_each_image_once():
  plan = planning.TrainingPlan(BUCKETS, 4, seed=3)
  for epoch in range(3):
    rows = _epoch(plan, epoch)
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(12))
    assert all(len(set(BUCKETS[batch])) == 1 for batch in rows)
  assert not np.array_equal(_epoch(plan, 0), _epoch(plan, 1))


def test_remainder_differs_and_no_image_is_lost():
  plan = planning.TrainingPlan(np.zeros(7, int), 4, seed=0)
  assert plan.batches_per_epoch == 1
  seen = [set(batch) for epoch in range(20) for batch in _epoch(plan, epoch)]
  assert all(len(batch) == 4 for batch in seen)
  assert set.union(*seen) == set(range(7))


def test_small_bucket_is_repeated():
  plan = planning.TrainingPlan(np.array([0, 0, 0, 0, 1]), 4, seed=0)
  batches = sorted(sorted(batch) for batch in _epoch(plan, 0))
  assert batches == [[0, 1, 2, 3], [4, 4, 4, 4]]


def test_seed_decides():
  first, same, other = (planning.TrainingPlan(BUCKETS, 2, seed) for seed in (1, 1, 2))
  for step in (0, 5, 1000):
    for one, two in zip(planning.training_rows(first, step), planning.training_rows(same, step),
                        strict=True):
      np.testing.assert_array_equal(one, two)
  assert any(not np.array_equal(planning.training_rows(first, k)[0],
                                planning.training_rows(other, k)[0]) for k in range(6))


def test_half_of_the_flips():
  plan = planning.TrainingPlan(BUCKETS, 4, seed=0)
  flips = np.concatenate([planning.training_rows(plan, step)[1] for step in range(300)])
  assert 0.45 < flips.mean() < 0.55


def test_evaluation_rows():
  np.testing.assert_array_equal(
      planning.evaluation_rows(np.array([0, 1, 0, 0]), 2), [[0, 2], [3, -1], [1, -1]])


def test_process_slices():
  parts = [np.arange(6)[planning.process_slice(6, index, 3)] for index in range(3)]
  np.testing.assert_array_equal(parts, [[0, 1], [2, 3], [4, 5]])
  with pytest.raises(ValueError, match="7 images cannot be divided among 3"):
    planning.process_slice(7, 0, 3)
  with pytest.raises(ValueError, match="process 3 of 3"):
    planning.process_slice(6, 3, 3)
