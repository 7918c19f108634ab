import weakref

import jax
import numpy as np
from pycocotools import mask as coco_mask
import pytest

from mnc_jax.evaluation import results
from mnc_jax.ops.masks import paste_masks
from mnc_jax.structs import ImageInfo, Instances

SIZE = 14  # Mask side.


def make_instances(boxes, *, masks=None, labels=None, scores=None, valid=None, mask_boxes=None):
  """Instances of one image with a leading B of 1."""
  count = len(boxes)
  return Instances(
      boxes=np.asarray([boxes], np.float32),
      labels=np.asarray([labels or [1] * count], np.int32),
      scores=np.asarray([scores or [0.5] * count], np.float32),
      masks=np.ones((1, count, SIZE, SIZE), np.float32) if masks is None else masks[None],
      valid=np.asarray([valid or [True] * count]),
      dropped=np.zeros(1, np.int32), truncated_proposals=np.zeros(1, np.int32),
      mask_boxes=None if mask_boxes is None else np.asarray([mask_boxes], np.float32))


def make_info(*, image_id=42, size=(40, 60), scale: float | tuple = 1.0):
  return ImageInfo(np.array([image_id]), np.array([size], np.int32),
                   np.broadcast_to(np.asarray(scale, np.float64), (1, 2)), np.zeros(1, np.int32))


def write(instances, info, *, threshold=0.4, category_ids=(10, 20)):
  return results.instances_to_results(instances, info, category_ids, mask_threshold=threshold)


def decode(record):
  return coco_mask.decode(record["segmentation"]).astype(bool)


def rectangle(size, y1, y2, x1, x2):
  mask = np.zeros(size, bool)
  mask[y1:y2, x1:x2] = True
  return mask


def test_a_record_holds_what_coco_asks_for():
  instances = make_instances([[10, 5, 30, 25]], labels=[2], scores=[0.75])
  record, = write(instances, make_info())
  assert {key: record[key] for key in ("image_id", "category_id", "score", "bbox")} == {
      "image_id": 42, "category_id": 20, "score": 0.75, "bbox": [10, 5, 20, 20]}
  assert record["segmentation"]["size"] == [40, 60]
  np.testing.assert_array_equal(decode(record), rectangle((40, 60), 5, 25, 10, 30))


def test_pasted_masks_of_all_instances_never_exist_together(monkeypatch):
  paste, alive = results.paste_binary, weakref.WeakSet()
  counts = []

  class Pasted(np.ndarray):
    __hash__ = object.__hash__  # Of a set.

  def watch(*arguments):
    window, inside = paste(*arguments)
    inside = inside.view(Pasted)
    alive.add(inside)
    counts.append(len(alive))
    return window, inside

  monkeypatch.setattr(results, "paste_binary", watch)
  assert len(write(make_instances([[0, 0, 60, 40]] * 5), make_info())) == 5
  assert len(counts) == 5 and max(counts) <= 2


def test_half_size_network_input_is_scaled_up():
  record, = write(make_instances([[10, 5, 20, 15]]), make_info(scale=0.5))
  assert record["bbox"] == [20, 10, 20, 20]
  np.testing.assert_array_equal(decode(record), rectangle((40, 60), 10, 30, 20, 40))


def test_double_size_network_input_is_scaled_down():
  record, = write(make_instances([[40, 20, 80, 60]]), make_info(scale=2.0))
  assert record["bbox"] == [20, 10, 20, 20]
  np.testing.assert_array_equal(decode(record), rectangle((40, 60), 10, 30, 20, 40))


def test_each_axis_has_its_own_scale():
  record, = write(make_instances([[10, 5, 20, 15]]), make_info(scale=(0.25, 0.5)))
  assert record["bbox"] == [20, 20, 20, 20]  # Cut at 40 rows.
  np.testing.assert_array_equal(decode(record), rectangle((40, 60), 20, 40, 20, 40))


def test_mask_inside_the_box_lands_on_its_pixels():
  # A cell of the mask is one pixel of the file.
  mask = (np.random.default_rng(0).random((1, SIZE, SIZE)) > 0.5).astype(np.float32)
  record, = write(make_instances([[8, 6, 8 + 2 * SIZE, 6 + 2 * SIZE]], masks=mask),
                  make_info(scale=2.0))
  expected = np.zeros((40, 60), bool)
  expected[3:3 + SIZE, 4:4 + SIZE] = mask[0] > 0.5
  np.testing.assert_array_equal(decode(record), expected)


def test_pixels_must_exceed_the_threshold():
  masks = np.full((1, SIZE, SIZE), 0.4, np.float32)
  instances = make_instances([[10, 5, 30, 25]], masks=masks)
  assert write(instances, make_info(), threshold=0.41) == []
  record, = write(instances, make_info(), threshold=0.39)
  assert decode(record).sum() == 400


def test_the_mask_is_pasted_where_it_was_predicted_whatever_the_box():
  # The second box is beyond the image, but its mask is not; the row between them is padding.
  instances = make_instances(
      [[12, 6, 26, 24], [0, 0, 9, 9], [70, 0, 80, 10]], valid=[True, False, True],
      mask_boxes=[[10, 5, 30, 25], [0, 0, 9, 9], [0, 0, 4, 2]])
  first, second = write(instances, make_info(scale=(0.5, 1.0)))
  assert first["bbox"] == [12, 12, 14, 28]
  np.testing.assert_array_equal(decode(first), rectangle((40, 60), 10, 40, 10, 30))
  assert second["bbox"] == [60, 0, 0, 20]
  np.testing.assert_array_equal(decode(second), rectangle((40, 60), 0, 4, 0, 4))


def test_box_beyond_the_image_is_clipped_and_its_mask_cut():
  record, = write(make_instances([[50, 30, 70, 50]]), make_info())
  assert record["bbox"] == [50, 30, 10, 10]
  np.testing.assert_array_equal(decode(record), rectangle((40, 60), 30, 40, 50, 60))


def test_instances_without_a_pixel_give_no_record():
  instances = make_instances([[100, 100, 120, 120], [3, 3, 3, 9], [10, 5, 30, 25]],
                             labels=[1, 1, 2])
  record, = write(instances, make_info())
  assert record["category_id"] == 20


def test_invalid_rows_and_padding_images_are_skipped():
  instances = make_instances([[10, 5, 30, 25], [0, 0, 9, 9]], valid=[True, False])
  assert len(write(instances, make_info())) == 1
  assert write(instances, make_info(image_id=-1)) == []
  assert write(make_instances([[0, 0, 9, 9]], valid=[False]), make_info()) == []


def test_images_of_a_batch_keep_to_themselves():
  one, other = make_instances([[10, 5, 30, 25]]), make_instances([[0, 0, 4, 4]])
  batch = jax.tree.map(lambda *columns: np.concatenate(columns), one, one, other)
  info = ImageInfo(np.array([7, -1, 0]), np.array([[40, 60], [0, 0], [10, 10]]),
                   np.ones((3, 2)), np.zeros(3, np.int32))
  records = write(batch, info)
  assert [record["image_id"] for record in records] == [7, 0]
  assert [record["segmentation"]["size"] for record in records] == [[40, 60], [10, 10]]


@pytest.mark.parametrize("side", [14, 28, 112])
def test_masks_are_pasted_as_by_the_operation_inside_their_boxes(side):
  rng, size = np.random.default_rng(side), (97, 131)
  low, extents = rng.uniform(-0.4, 1, (40, 2)), rng.uniform(0, 0.9, (40, 2))
  boxes = (np.concatenate([low, low + extents], axis=1) * np.tile(size[::-1], 2)).astype(np.float32)
  boxes[:8] = np.rint(boxes[:8])
  boxes[8:11] = [[-5, -5, 150, 99], [3, 3, 3, 9], [9, 40, 30, 20]]
  masks = rng.random((40, side, side)).astype(np.float32)
  expected = np.asarray(paste_masks(masks, boxes, *size)) > 0.4
  assert expected[8].any()
  for mask, box, whole in zip(masks, boxes, expected, strict=True):
    (rows, columns), inside = results.paste_binary(mask, box, size, 0.4)
    found = np.zeros(size, bool)
    found[rows, columns] = inside
    np.testing.assert_array_equal(found, whole)
    height, width = np.maximum(np.ceil(box[2:] - box[:2]), 0)[::-1] + 1
    assert inside.shape[0] <= height
    assert inside.shape[1] <= width


def test_no_size_and_no_count_is_compiled(caplog):
  boxes = [[i, i, i + 8, i + 8] for i in range(21)]
  with jax.log_compiles(), caplog.at_level("WARNING"):
    for count, size in ((1, (40, 60)), (21, (133, 48))):
      assert len(write(make_instances(boxes[:count]), make_info(size=size))) == count
  assert not caplog.records


def test_device_arrays_are_welcome():
  instances = jax.tree.map(jax.numpy.asarray, make_instances([[10, 5, 30, 25]]))
  assert len(write(instances, make_info())) == 1


def records(*image_ids):
  return [{"image_id": image_id, "score": place} for place, image_id in enumerate(image_ids)]


def test_shares_of_a_split_merge_to_the_order_of_its_images():
  whole = [((5, 3, 9, 4), records(5, 5, 9, 4, 4))]
  parts = [((9, 3), records(9)), ((), []), ((4, 5), records(4, 4, 5, 5))]
  def places(shares):
    return [record["image_id"] for record in results.merge_shares(shares, np.array([3, 4, 5, 9]))]
  assert places(whole) == places(parts) == [4, 4, 5, 5, 9]
  merged = results.merge_shares(parts, [3, 4, 5, 9])
  assert [record["score"] for record in merged] == [0, 1, 2, 3, 0]  # As they were in an image.


@pytest.mark.parametrize(("seen", "message"), [
    ((1, 2), "each of the 3 images must be scored exactly once: 1 were not, image 3 was "
     "predicted 0 times"),
    ((1, 2, 3, 2), "image 2 was predicted 2 times"),
    ((1, 2, 3, 8), "image 8 was predicted, but is not in the split"),
])
def test_each_image_must_be_predicted_exactly_once(seen, message):
  with pytest.raises(ValueError, match=message):
    results.merge_shares([(seen[:2], []), (seen[2:], [])], [1, 2, 3])
