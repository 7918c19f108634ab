"""Plans of batches: each image as often as it should come, from one bucket at a time."""

import numpy as np
import pytest

from mnc_jax.data.pipeline import plan as planning

BUCKETS = np.array([0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0])  # Eight and four.


def _rows(plan, steps):
  return [planning.training_rows(plan, step)[0] for step in steps]


def test_images_come_once_before_any_comes_twice():
  plan = planning.TrainingPlan(BUCKETS, 4, seed=3)
  for first in (0, 3, 6):
    rows = _rows(plan, range(first, first + 3))
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(12))
    assert all(len(set(BUCKETS[batch])) == 1 for batch in rows)
  one_bucket = planning.TrainingPlan(np.zeros(7, int), 4, seed=0)
  for first in (0, 7):
    counts = np.bincount(np.concatenate(_rows(one_bucket, range(first, first + 7))))
    np.testing.assert_array_equal(counts, np.full(7, 4))
  assert np.bincount(np.concatenate(_rows(one_bucket, range(5)))).tolist().count(3) == 6


@pytest.mark.parametrize(("sizes", "batch_size"), [
    ((17, 3), 8), ((9, 1), 8), ((85, 15), 8), ((85, 15), 32), ((215, 73), 64), ((100, 45, 15), 8),
    ((420, 130, 8, 2), 8), ((5, 5), 3), ((7,), 4)])
def test_all_images_come_equally_often(sizes, batch_size):
  """By size of bucket: how often an image comes, relative to the mean (it was up to 9)."""
  buckets = np.repeat(np.arange(len(sizes)), sizes)
  plan, total = planning.TrainingPlan(buckets, batch_size, seed=1), sum(sizes)
  for steps in (total, 2 * total + total // 3):
    rows = np.concatenate(_rows(plan, range(steps)))
    counts = np.bincount(rows, minlength=total)
    for bucket, size in enumerate(sizes):
      batches = counts[buckets == bucket].sum() / batch_size
      # Whole batches, in a cycle that has a batch of each bucket in each of its parts.
      assert abs(batches - steps * size / total) < len(sizes), (bucket, steps)
      assert np.ptp(counts[buckets == bucket]) <= 1, (bucket, steps)
    if steps == total:
      np.testing.assert_array_equal(counts, np.full(total, batch_size))


def test_a_step_follows_from_seed_and_number_alone():
  buckets = np.repeat(np.arange(3), (11, 4, 2))
  in_order = _rows(planning.TrainingPlan(buckets, 4, seed=2), range(60))
  resumed = _rows(planning.TrainingPlan(buckets, 4, seed=2), range(59, 30, -1))
  np.testing.assert_array_equal(in_order[:30:-1], resumed)


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
