"""Scale, crop and colour of training images, by hand and by what must never happen."""

import dataclasses

import numpy as np
import pytest

from helpers.toy_sets import make_source
from mnc_jax.config import DataConfig
from mnc_jax.data import augment, evaluation_batches, scaling, training_batches, transforms
from mnc_jax.data.records import Record


def _record(height=40, width=60):
  masks = np.zeros((3, height, width), np.uint8)
  masks[0, 4:10, 6:18] = 1
  masks[1, 30:36, 50:56] = 1
  masks[2, :, :] = 1  # A crowd region.
  image = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
  return Record(5, image, masks, np.array([2, 1, 1], np.int32), np.array([False, False, True]))


def _config(**fields):
  return DataConfig(short_side=40, long_side=60, buckets=((40, 60),), **fields)


def augment_record(rng, record, config, **options):
  """Returns the example of a random view of a record."""
  return transforms.make_example(*augment.draw_view(rng, record, config, **options))


def test_defaults_change_nothing():
  record = _record()
  example = augment_record(
      np.random.default_rng(0), record, _config(), scale=1.0, bucket=(40, 60))
  for one, other in zip(example, transforms.resize_record(record, (40, 60)), strict=True):
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("size", [(480, 640), (427, 640), (333, 500), (375, 1242), (601, 601)])
def test_without_jitter_no_pixel_is_cropped(size):
  # Sides that meet the bucket after rounding only must not lose a row.
  scale, = scaling.scale_factors([size], 600, 1000)
  target, = scaling.scaled_sizes([size], 600, 1000)
  record = Record(1, np.zeros((*size, 3), np.uint8), np.zeros((0, *size), np.uint8),
                  np.zeros(0, np.int32), np.zeros(0, bool))
  example = augment_record(np.random.default_rng(0), record, DataConfig(), scale=scale,
                           bucket=(600, 1000))
  assert example.image.shape[:2] == tuple(target)


def test_windows_keep_an_instance_and_vary():
  boxes = np.array([[6, 4, 18, 10], [50, 30, 56, 36], [0, 0, 0, 0]])
  rng, kept, windows = np.random.default_rng(0), [0, 0], set()
  for _ in range(300):
    x1, y1, x2, y2 = window = augment.draw_window(rng, (40, 60), boxes, share=0.4, most=(40, 60))
    assert 0 <= x1 < x2 <= 60 and 0 <= y1 < y2 <= 40
    assert x2 - x1 >= 24 and y2 - y1 >= 16
    inside = [box[0] >= x1 and box[1] >= y1 and box[2] <= x2 and box[3] <= y2 for box in boxes[:2]]
    assert any(inside)
    kept = [count + one for count, one in zip(kept, inside, strict=True)]
    windows.add(window)
  assert min(kept) > 100
  assert len(windows) > 250


def test_window_is_inside_an_instance_that_is_longer():
  rng = np.random.default_rng(1)
  for _ in range(50):
    x1, y1, x2, y2 = augment.draw_window(rng, (40, 60), np.array([[10, 5, 50, 35]]), share=1.0,
                                         most=(20, 30))
    assert (y2 - y1, x2 - x1) == (20, 30)
    assert x1 >= 10 and x2 <= 50 and y1 >= 5 and y2 <= 35


def test_a_window_in_a_hollow_instance_moves_to_a_part_of_it():
  """A frame of 3 pixels around 94 x 94, of which most windows of 30 would see nothing."""
  mask = np.pad(np.zeros((94, 94), np.uint8), 3, constant_values=1)
  record = Record(1, np.zeros((100, 100, 3), np.uint8), np.stack([mask, np.ones_like(mask)]),
                  np.ones(2, np.int32), np.array([False, True]))
  for seed in range(40):
    view, _ = augment.draw_view(np.random.default_rng(seed), record, DataConfig(), scale=1.0,
                                bucket=(30, 30))
    assert view.image.shape[:2] == (30, 30)
    np.testing.assert_array_equal(view.crowd, [False, True])
    assert view.masks[0].any()


def test_crop_by_hand():
  record = _record()
  view = augment.crop_record(record, (10, 2, 40, 22))
  np.testing.assert_array_equal(view.image, record.image[2:22, 10:40])
  # The second instance is outside; of the first its right part is left; the crowd fills all.
  np.testing.assert_array_equal(view.labels, [2, 1])
  np.testing.assert_array_equal(view.crowd, [False, True])
  np.testing.assert_array_equal(transforms.tight_boxes(view.masks),
                                [[0, 2, 8, 8], [0, 0, 30, 20]])


def test_masks_are_copied_only_where_some_are_dropped():
  record = _record()
  masks = augment.crop_record(record, (2, 1, 58, 39)).masks
  assert np.shares_memory(masks, record.masks) and len(masks) == 3
  assert not np.shares_memory(augment.crop_record(record, (10, 2, 40, 22)).masks, record.masks)


def _scale(factor, seed):
  """The sides (width, height) by label, crowd as 0, of the toy record at a scale."""
  example = augment_record(
      np.random.default_rng(seed), _record(), _config(scale_jitter=(factor, factor)), scale=1.0,
      bucket=(40, 60))
  sides = (example.boxes[:, 2:] - example.boxes[:, :2]).tolist()
  return example.image.shape[:2], dict(zip(np.where(example.crowd, 0, example.labels), sides))


def test_scaled_up_is_cropped_to_the_bucket_and_scaled_down_is_whole():
  found = [_scale(2.0, seed) for seed in range(8)]
  assert all(size == (40, 60) for size, _ in found)
  # Half of each side is seen: one instance, whole and twice as large, and a part of the crowd.
  seen = [sides for _, sides in found]
  assert all(sides in ({2: [24, 12], 0: [60, 40]}, {1: [12, 12], 0: [60, 40]}) for sides in seen)
  assert {max(sides) for sides in seen} == {1, 2}
  for seed in range(8):
    assert _scale(0.5, seed) == ((20, 30), {2: [6, 3], 1: [3, 3], 0: [30, 20]})


def test_scale_is_as_often_below_one_as_above():
  rng = np.random.default_rng(0)
  factors = np.array([augment.draw_scale(rng, (0.5, 2.0)) for _ in range(2000)])
  assert 0.5 <= factors.min() < 0.52 and 1.95 < factors.max() <= 2.0
  assert 0.47 < (factors < 1).mean() < 0.53


def test_colors_by_hand():
  class Fixed:
    def uniform(self, low, high, count):
      del low, high, count
      return 0.5, 0.8, 1.2  # saturation, contrast, brightness

  image = np.array([[[200, 100, 50], [10, 20, 30]]], np.uint8)
  luma = np.array([0.299, 0.587, 0.114])
  grey = image @ luma
  pulled = grey[..., None] + 0.5 * (image - grey[..., None])
  expected = 1.2 * (grey.mean() + 0.8 * (pulled - grey.mean()))
  np.testing.assert_allclose(augment.jitter_colors(Fixed(), image, 0.5), np.rint(expected), atol=1)


def test_colors_stay_in_range_and_grey_stays_grey():
  rng = np.random.default_rng(0)
  image = np.repeat(rng.integers(0, 256, (8, 8, 1)).astype(np.uint8), 3, axis=2)
  for _ in range(20):
    changed = augment.jitter_colors(rng, image, 0.6)
    assert changed.dtype == np.uint8
    assert np.ptp(changed.astype(int), axis=2).max() <= 1


@pytest.mark.parametrize(("fields", "message"), [
    ({"scale_jitter": (0.0, 1.0)}, "data.scale_jitter must be .*found \\(0.0, 1.0\\)"),
    ({"scale_jitter": (2.0, 1.0)}, "data.scale_jitter"),
    ({"crop_share": 0.0}, "data.crop_share must be in \\(0, 1\\], found 0.0"),
    ({"crop_size": (0, 64)}, "data.crop_size must be two positive sides.*found \\(0, 64\\)"),
    ({"color_jitter": 1.0}, "data.color_jitter must be in \\[0, 1\\), found 1.0"),
])
def test_ranges_that_cannot_be_drawn_from_are_named(fields, message):
  with pytest.raises(ValueError, match=message):
    training_batches(make_source([(16, 24)]), DataConfig(**fields), seed=0, batch_size=1)


def test_batches_follow_from_the_seed_whatever_the_workers(toy_config):
  config = dataclasses.replace(toy_config, scale_jitter=(0.5, 2.0), crop_share=0.5,
                               color_jitter=0.4)
  source = make_source([(16, 24), (24, 16), (16, 32), (16, 20)] * 2, instances=2)

  def take(**options):
    batches = iter(training_batches(
        source, dataclasses.replace(config, **options.pop("fields", {})), batch_size=2, **options))
    return [next(batches)[0] for _ in range(6)]

  first = take(seed=0)
  for other in (take(seed=0), take(seed=0, fields={"num_workers": 2})):
    for one, two in zip(first, other, strict=True):
      for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
  assert not all(np.array_equal(a.images, b.images)
                 for a, b in zip(first, take(seed=1), strict=True))
  assert all(batch.valid.any(axis=1).all() for batch in first)


def test_images_of_all_shapes_are_cropped_to_one_size_in_training_alone(toy_config):
  config = dataclasses.replace(toy_config, crop_size=(12, 12), flip=False)
  source = make_source([(16, 24), (24, 16), (16, 32), (8, 16)], instances=2)
  batches = iter(training_batches(source, config, seed=0, batch_size=4))
  for batch, _ in (next(batches) for _ in range(5)):
    assert batch.images.shape == (4, 12, 12, 3)
    np.testing.assert_array_equal(batch.image_sizes, np.full((4, 2), 12))
    assert batch.valid.any(axis=1).all()
    assert batch.boxes.max() <= 12
  same = dataclasses.replace(config, buckets=((12, 12),), crop_size=(12, 12))
  with pytest.raises(ValueError, match="image 100 is 16 x 24 .* fits into none"):
    evaluation_batches(source, same, batch_size=4)


def test_turns_move_image_and_instances_together():
  record = _record()
  for turns in range(4):
    turned = augment.turn_record(record, turns)
    example = augment_record(
        np.random.default_rng(0), turned, _config(), scale=1.0, bucket=turned.image.shape[:2])
    for (x1, y1, x2, y2), (a1, b1, a2, b2) in zip(
        transforms.tight_boxes(record.masks), example.boxes, strict=True):
      before = record.image[y1:y2, x1:x2]
      after = example.image[int(b1):int(b2), int(a1):int(a2)]
      np.testing.assert_array_equal(after, np.rot90(before, turns))
  # One by hand: counter-clockwise, the column x = 6 ... 17 of 60 becomes the row 60 - 18 ... .
  np.testing.assert_array_equal(
      transforms.tight_boxes(augment.turn_record(record, 1).masks)[0], [4, 42, 10, 54])


def test_half_of_the_images_are_inverted():
  record, rng = _record(), np.random.default_rng(0)
  views = [augment_record(rng, record, _config(invert=True), scale=1.0,
                                  bucket=record.image.shape[:2]) for _ in range(200)]
  inverted = [np.array_equal(view.image, 255 - record.image) for view in views]
  assert all(np.array_equal(view.image, record.image) for view, changed in zip(views, inverted)
             if not changed)
  assert 80 < sum(inverted) < 120
  np.testing.assert_array_equal(views[0].masks, views[1].masks)


@pytest.mark.parametrize(("bucket", "expected"), [((60, 60), 4), ((40, 60), 2)])
def test_turns_come_equally_often_and_fit_the_bucket(bucket, expected):
  record = _record()
  rng, found = np.random.default_rng(0), []
  for _ in range(200):
    example = augment_record(rng, record, _config(turn=True), scale=1.0, bucket=bucket)
    found.append(tuple(example.boxes[0]))
  counts = [found.count(box) for box in set(found)]
  assert len(counts) == expected
  assert min(counts) > 0.7 * 200 / expected
