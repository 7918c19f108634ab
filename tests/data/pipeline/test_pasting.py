"""Pasted instances in batches: which images, when, with what order, reads and faults."""

import dataclasses

import numpy as np
import pytest

from helpers.toy_sets import make_source
from mnc_jax.data import evaluation_batches, training_batches
from mnc_jax.data.pipeline import batches, loading
from mnc_jax.data.pipeline import plan as planning

SIZES = [(16, 24), (24, 16), (16, 32), (16, 16), (16, 20)]


@pytest.fixture(name="config")
def _config(toy_config):
  return dataclasses.replace(toy_config, copy_paste=0.5, scale_jitter=(0.7, 1.5), color_jitter=0.2,
                             max_instances=5)


def _take(source, config, count=6, **options):
  options = {"seed": 0, "batch_size": 4} | options
  batches = iter(training_batches(source, config, **options))
  found = [next(batches) for _ in range(count)]
  if hasattr(batches, "close"):
    batches.close()
  return found


def _assert_equal(one, other):
  for batch, same in zip(one, other, strict=True):
    for a, b in zip((*batch[0], *batch[1]), (*same[0], *same[1]), strict=True):
      np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_follow_from_seed_and_step(config, num_workers):
  source = make_source(SIZES, instances=2)
  whole = _take(source, config)
  other = dataclasses.replace(config, num_workers=num_workers)
  _assert_equal(whole[2:], _take(source, other, 4, first_step=2))
  halves = [_take(source, config, process_index=index, process_count=2) for index in range(2)]
  for (batch, _), (first, _), (second, _) in zip(whole, *halves, strict=True):
    np.testing.assert_array_equal(batch.images, np.concatenate([first.images, second.images]))
    np.testing.assert_array_equal(batch.boxes, np.concatenate([first.boxes, second.boxes]))
  different = _take(source, config, seed=1)
  assert not all(np.array_equal(a[0].images, b[0].images) for a, b in zip(whole, different))


def test_images_without_a_paste_are_those_of_a_run_that_pastes_nothing(config):
  config = dataclasses.replace(config, color_jitter=0.0)  # Each image has a colour of its own.
  source = make_source(SIZES, instances=2)
  off = _take(source, dataclasses.replace(config, copy_paste=0.0), 20)
  on = _take(source, config, 20)
  changed = []
  for (plain, info), (pasted, same) in zip(off, on, strict=True):
    np.testing.assert_array_equal(info.image_ids, same.image_ids)
    np.testing.assert_array_equal(plain.image_sizes, pasted.image_sizes)
    for slot in range(4):
      equal = [np.array_equal(a[slot], b[slot]) for a, b in zip(plain, pasted, strict=True)
               if a.shape == b.shape]
      assert all(equal) or not np.array_equal(plain.images[slot], pasted.images[slot])
      changed.append(not all(equal))
  assert 25 < sum(changed) < 55


def test_reads_one_image_more_where_it_pastes_and_none_where_not(config):
  reads = []
  source = make_source(SIZES)
  read = source.read_image
  counted = dataclasses.replace(source, read_image=lambda row: (reads.append(row), read(row))[1])
  for share, expected in ((0.0, 4), (1.0, 8)):
    options = dataclasses.replace(config, copy_paste=share)
    loader = batches._make_loader(counted, options, 4, 0, 1)
    plan = planning.TrainingPlan(loader.buckets, 4, 0, None,
                                 np.ones(5, bool) if share else None)
    reads.clear()
    loading.load_training_batch(loader, plan, 0)
    assert len(reads) == expected


def test_evaluation_pastes_nothing(config):
  source = make_source(SIZES, instances=2)
  on, off = (list(evaluation_batches(source, dataclasses.replace(config, copy_paste=share),
                                     batch_size=2)) for share in (1.0, 0.0))
  _assert_equal(on, off)


def test_slots_are_bounded_and_dropped_ones_counted(config):
  config = dataclasses.replace(config, copy_paste=1.0, max_instances=2, scale_jitter=(1.0, 1.0))
  with pytest.warns(UserWarning, match="more than data.max_instances"):
    batches = _take(make_source([(16, 24)] * 4, instances=3), config, 12)
  counts = set()
  for batch, info in batches:
    assert batch.valid.shape == (4, 2) and batch.ignored_boxes.shape == (4, 3, 4)
    ignored = (batch.ignored_boxes[..., 2] > 0).sum(axis=1)
    np.testing.assert_array_equal(ignored, info.dropped)
    counts |= set(info.dropped.tolist())
  assert counts <= {0, 1, 2, 3} and max(counts) >= 2


def test_a_donor_that_cannot_be_read_leaves_the_image_as_it_is(config):
  config = dataclasses.replace(config, copy_paste=1.0)
  source = make_source([(16, 24)] * 2, broken=(1,))
  with pytest.warns(UserWarning, match="skipped in training, 1 so far: cannot read image toy_1"):
    batches = _take(source, config, 4, batch_size=2)
  plain = dataclasses.replace(config, copy_paste=0.0)
  with pytest.warns(UserWarning, match="skipped in training"):
    expected = _take(source, plain, 4, batch_size=2)
  for (one, info), (other, _) in zip(batches, expected, strict=True):
    assert set(info.image_ids) <= {100, -1}
    np.testing.assert_array_equal(one.images, other.images)


def test_donors_are_other_images_as_often_as_they_come():
  donors = np.array([True, True, False, True])
  plan = planning.TrainingPlan(np.zeros(4, int), 2, 0, np.array([1.0, 3.0, 1.0, 1.0]), donors)
  rng = np.random.default_rng(0)
  drawn = [planning.draw_donor(plan, rng, 0) for _ in range(400)]
  assert set(drawn) == {1, 3} and 270 < drawn.count(1) < 330
  assert {planning.draw_donor(plan, rng, 1) for _ in range(50)} == {0, 3}
  alone = planning.TrainingPlan(np.zeros(4, int), 2, 0, None, np.arange(4) == 1)
  assert planning.draw_donor(alone, rng, 1) is None and planning.draw_donor(alone, rng, 0) == 1


@pytest.mark.parametrize(("sizes", "instances", "message"), [
    (SIZES[:1], 2, "has one image: data.copy_paste has no effect, since instances of another"),
    (SIZES, 0, r"has no image with an instance \(crowd regions aside\): data.copy_paste has no")])
def test_a_source_without_donors_is_reported_once(config, sizes, instances, message):
  source = make_source(sizes, instances=instances)
  with pytest.warns(UserWarning, match=message) as caught:
    _take(source, config)
  assert len(caught) == 1
  _take(source, dataclasses.replace(config, copy_paste=0.0))
