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


def test_repeated_images_come_as_often_as_they_should():
  """In 400 passes over 12 images, of which one comes 2.5 times as often and one 1.25 times."""
  repeats = np.ones(12)
  repeats[[4, 5]] = 2.5, 1.25
  plan = planning.TrainingPlan(BUCKETS, 2, seed=3, repeats=repeats)
  # Image 4 is of the bucket of four, whose passes have 5.5 images, that is 6; the other has 8.
  steps = 400 * (6 + 8) // 2
  rows = _rows(plan, range(steps))
  assert all(len(set(BUCKETS[batch])) == 1 for batch in rows)
  counts = np.bincount(np.concatenate(rows), minlength=12)
  size = np.where(BUCKETS == 1, 6 / 5.5, 8 / 8.25)
  np.testing.assert_allclose(counts, 400 * repeats * size, rtol=0.03)
  np.testing.assert_array_equal(
      rows[:20], _rows(planning.TrainingPlan(BUCKETS, 2, seed=3, repeats=repeats), range(20)))


@pytest.mark.parametrize("repeat,allowed", [(2.0, {2}), (1.25, {1, 2})])
def test_an_image_comes_as_often_as_its_repeats_or_once_more_or_less_in_each_pass(repeat, allowed):
  plan = planning.TrainingPlan(np.zeros(7, int), 1, seed=0, repeats=np.r_[repeat, np.ones(6)])
  size = round(6 + repeat)
  seen = set()
  for number in range(30):
    rows = np.concatenate(_rows(plan, range(number * size, (number + 1) * size)))
    seen.add(int(np.count_nonzero(rows == 0)))
  assert seen == allowed


def test_repeats_of_one_change_nothing_but_the_order():
  plan = planning.TrainingPlan(np.zeros(7, int), 1, seed=0, repeats=np.ones(7))
  for number in range(5):
    rows = np.concatenate(_rows(plan, range(number * 7, (number + 1) * 7)))
    np.testing.assert_array_equal(np.sort(rows), np.arange(7))


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
