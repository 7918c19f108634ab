"""From a source to batches: contents, padding, processes, workers, faults."""

import dataclasses
import re
import warnings

import numpy as np
import pytest

from helpers.toy_sets import make_source
from mnc_jax.data import evaluation_batches, training_batches
from mnc_jax.data.pipeline.batches import count_evaluation_batches

SIZES = [(16, 24), (24, 16), (16, 32), (8, 16), (32, 16), (16, 16), (16, 20)]


def _take(dataset, count):
  iterator = iter(dataset)
  return [next(iterator) for _ in range(count)]


def _assert_equal(one, other):
  for a, b in zip((*one[0], *one[1]), (*other[0], *other[1]), strict=True):
    np.testing.assert_array_equal(a, b)


def test_batch_by_hand(toy_config):
  source = make_source([(8, 16)], instances=2)
  batch, info = next(iter(evaluation_batches(source, toy_config, batch_size=2)))
  assert batch.images.shape == (2, 16, 32, 3)
  assert batch.images.dtype == np.uint8
  np.testing.assert_array_equal(batch.image_sizes, [[16, 32], [0, 0]])
  np.testing.assert_allclose(
      batch.boxes[0], [[2, 4, 8, 10], [2, 4, 10, 12], [0, 0, 0, 0]])
  np.testing.assert_array_equal(batch.labels, [[1, 2, 0], [0, 0, 0]])
  np.testing.assert_allclose(batch.areas[0], [9 * 4, 16 * 4, 0])
  np.testing.assert_array_equal(batch.valid, [[True, True, False], [False] * 3])
  assert batch.masks[0, :2].all()
  assert not batch.masks[0, 2].any()
  assert not batch.images[1].any()
  np.testing.assert_array_equal(info.image_ids, [100, -1])
  np.testing.assert_array_equal(info.original_sizes, [[8, 16], [0, 0]])
  np.testing.assert_allclose(info.scales, [[2, 2], [0, 0]])
  for name, kind in (("boxes", np.float32), ("labels", np.int32), ("masks", np.uint8),
                     ("areas", np.float32), ("crowd", bool), ("image_sizes", np.int32)):
    assert getattr(batch, name).dtype == kind, name


@pytest.mark.parametrize("buckets", [(), ((16, 32), (32, 16))])
def test_evaluation_batches_are_counted(toy_config, buckets):
  source = make_source([(10, 20)] * 5 + [(20, 10)] * 2)
  config = dataclasses.replace(toy_config, buckets=buckets)
  counted = count_evaluation_batches(source, config, batch_size=2)
  assert counted == len(list(evaluation_batches(source, config, batch_size=2))) == 4


@pytest.mark.parametrize("process_count", [1, 2, 3])
def test_evaluation_covers_each_image_once(toy_config, process_count):
  source = make_source(SIZES)
  seen, counts = [], set()
  for index in range(process_count):
    batches = list(evaluation_batches(source, toy_config, batch_size=6, process_index=index,
                                      process_count=process_count))
    counts.add(len(batches))
    seen += [int(i) for _, info in batches for i in info.image_ids if i >= 0]
    assert all(len(info.image_ids) == 6 // process_count for _, info in batches)
  assert sorted(seen) == list(source.image_ids)
  assert len(counts) == 1  # Every process takes part in every step.


def test_images_of_rare_categories_come_more_often(toy_config):
  source = make_source([(16, 24)] * 8)
  read = source.read_annotations
  # Category 7 is in one of 8 images, so it comes sqrt(.5 / .125) = 2 times as often.
  source = dataclasses.replace(source, read_annotations=lambda row: [
      annotation | {"category_id": 3 if row else 7} for annotation in read(row)])
  config = dataclasses.replace(toy_config, repeat_below=0.5)
  batches = _take(training_batches(source, config, seed=1, batch_size=1), 18)
  ids, counts = np.unique([int(info.image_ids[0]) for _, info in batches], return_counts=True)
  assert dict(zip(ids - 100, counts)) == {0: 4, **dict.fromkeys(range(1, 8), 2)}


def test_processes_divide_the_training_batches(toy_config):
  source = make_source(SIZES)
  whole = _take(training_batches(source, toy_config, seed=1, batch_size=4), 6)
  parts = [_take(training_batches(source, toy_config, seed=1, batch_size=4, process_index=index,
                                  process_count=2), 6) for index in range(2)]
  for step, (batch, info) in enumerate(whole):
    joined = [np.concatenate(pair) for pair in zip(parts[0][step][0], parts[1][step][0],
                                                   strict=True)]
    for one, other in zip(batch, joined, strict=True):
      np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(
        info.image_ids, np.concatenate([part[step][1].image_ids for part in parts]))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resumes_from_any_step_with_any_number_of_workers(toy_config, num_workers):
  source = make_source(SIZES)
  whole = _take(training_batches(source, toy_config, seed=0, batch_size=2), 9)
  other = dataclasses.replace(toy_config, num_workers=num_workers)
  rest = iter(training_batches(source, other, seed=0, batch_size=2, first_step=5))
  for batch in whole[5:]:
    _assert_equal(batch, next(rest))
  rest.close()


def test_flip_is_an_option(toy_config):
  source = make_source(SIZES)
  plain = dataclasses.replace(toy_config, flip=False)
  def kinds(config):
    batches = _take(training_batches(source, config, seed=0, batch_size=2), 12)
    return {tuple(box) for batch, _ in batches for box in batch.boxes[batch.valid].tolist()}
  assert len(kinds(toy_config)) > len(kinds(plain))


@pytest.mark.parametrize("split", ["training", "evaluation"])
def test_contrast_is_stretched_before_the_image_is_scaled(toy_config, split):
  def half_and_half(index):
    return np.repeat(np.uint8([10, 20]), 8 * 24).reshape(16, 24, 1).repeat(3, axis=2)

  source = dataclasses.replace(make_source([(16, 24)] * 2), read_image=half_and_half)
  config = dataclasses.replace(toy_config, stretch_contrast=True, color_jitter=0.0)
  batch, _ = next(iter(
      evaluation_batches(source, config, batch_size=2) if split == "evaluation"
      else training_batches(source, config, seed=0, batch_size=2)))
  for image, (height, width) in zip(batch.images, batch.image_sizes, strict=True):
    assert set(np.unique(image[:height // 2 - 1, :width])) == {0}
    assert set(np.unique(image[height // 2 + 1:height, :width])) == {255}


@pytest.mark.parametrize("split", ["training", "evaluation"])
def test_a_range_hardly_used_is_reported_once(toy_config, split):
  def ramp(index):  # Of 12 bits in 16.
    return np.linspace(0, 4095, 16 * 24).astype(np.uint16).reshape(16, 24, 1).repeat(3, axis=2)

  source = dataclasses.replace(make_source([(16, 24)] * 6), read_image=ramp)
  def load(config):
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter("always")
      batches = _take(
          evaluation_batches(source, config, batch_size=2) if split == "evaluation"
          else training_batches(source, config, seed=0, batch_size=2), 3)
    return batches, [str(w.message) for w in caught if "range" in str(w.message)]

  plain = dataclasses.replace(toy_config, color_jitter=0.0)
  batches, messages = load(plain)
  message, = messages
  assert re.fullmatch(r"toy: image \d+ uses 6\.2% of its range of intensities, and others may too: "
                      r"data\.stretch_contrast spreads them", message)
  assert max(batch.images.max() for batch, _ in batches) == 16
  batches, messages = load(dataclasses.replace(plain, stretch_contrast=True))
  assert not messages
  assert len(np.unique(batches[0][0].images)) > 100


@pytest.mark.parametrize("num_workers", [0, 2])
def test_broken_image_is_skipped_and_counted_once(toy_config, num_workers):
  source = make_source([(16, 24)] * 6, broken=(2, 4))
  config = dataclasses.replace(toy_config, num_workers=num_workers)
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    batches = _take(training_batches(source, config, seed=0, batch_size=3), 8)
  messages = sorted(str(w.message) for w in caught if "skipped" in str(w.message))
  assert len(messages) == 2
  assert messages[0].startswith("skipped in training, 1 so far: cannot read image toy_")
  assert messages[1].startswith("skipped in training, 2 so far: cannot read image toy_")
  for batch, info in batches:
    skipped = info.image_ids == -1
    assert (batch.image_sizes[skipped] == 0).all()
    assert not batch.valid[skipped].any()
  assert sum((info.image_ids == -1).sum() for _, info in batches) == 8


def test_all_images_broken(toy_config):
  source = make_source([(16, 24)] * 3, broken=(0, 1, 2))
  with (pytest.warns(UserWarning, match="skipped in training, . so far"),
        pytest.raises(ValueError, match="toy: no image can be read")):
    _take(training_batches(source, toy_config, seed=0, batch_size=3), 2)


def test_broken_image_stops_evaluation(toy_config):
  source = make_source([(16, 24)] * 3, broken=(1,))
  with pytest.raises(ValueError, match="cannot read image toy_1"):
    list(evaluation_batches(source, toy_config, batch_size=3))


def test_too_many_instances_are_counted(toy_config):
  source = make_source([(16, 24)] * 2, instances=5)
  with pytest.warns(UserWarning, match=r"2 images have more than data\.max_instances = 3 .*up to "
                                       r"5.* 4 smallest of them are neither objects nor back"):
    batches = evaluation_batches(source, toy_config, batch_size=2)
  batch, info = next(iter(batches))
  np.testing.assert_allclose(batch.areas[0], [25, 36, 49])
  # Squares of 3 and 4 pixels from (1, 2) on.
  np.testing.assert_allclose(
      np.sort(batch.ignored_boxes[0], axis=0), [[1, 2, 4, 5], [1, 2, 5, 6]])
  np.testing.assert_array_equal(info.dropped, [2, 2])


def test_image_of_another_size(toy_config):
  source = make_source([(16, 24)])
  wrong = dataclasses.replace(source, sizes=np.array([[16, 25]], np.int32))
  with pytest.raises(ValueError, match="toy: image 100 is 16 x 24 .* annotated as 16 x 25"):
    list(evaluation_batches(wrong, toy_config, batch_size=1))


@pytest.mark.parametrize("make", [
    lambda *args, **kwargs: training_batches(*args, seed=0, **kwargs), evaluation_batches])
def test_errors_come_at_once(toy_config, make):
  with pytest.raises(ValueError, match="toy has no images"):
    make(make_source([]), toy_config, batch_size=2)
  with pytest.raises(ValueError, match="image 101 .* none of data.buckets"):
    make(make_source([(16, 16), (8, 24)]), dataclasses.replace(toy_config, buckets=((16, 16),)),
         batch_size=2)
  with pytest.raises(ValueError, match="cannot be divided"):
    make(make_source(SIZES), toy_config, batch_size=3, process_count=2)
