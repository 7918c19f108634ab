"""Instances of one image pasted on another: by hand, at other scales, and what always holds."""

import tracemalloc

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from mnc_jax.data import paste
from mnc_jax.data.augment import View, flip_view
from mnc_jax.data.records import Record


def _view(masks, value, *, labels=None, crowd=None, scale=1):
  masks = np.asarray(masks, np.uint8)
  count, size = len(masks), np.array(masks.shape[1:])
  labels = np.arange(1, count + 1) if labels is None else labels
  record = Record(1, np.full((*size, 3), value, np.uint8), masks, np.asarray(labels, np.int32),
                  np.zeros(count, bool) if crowd is None else np.asarray(crowd))
  return View(record, np.full((*(size * scale).astype(int), 3), value, np.uint8))


def _rectangles(size, *corners):
  """A mask per (x1, y1, x2, y2)."""
  masks = np.zeros((len(corners), *size), np.uint8)
  for mask, (x1, y1, x2, y2) in zip(masks, corners, strict=True):
    mask[y1:y2, x1:x2] = 1
  return masks


def _whole(example, index):
  """The mask of an instance in the whole image: its box, of whole pixels, sampled at centres."""
  mask = np.zeros(example.image.shape[:2], np.uint8)
  x1, y1, x2, y2 = example.boxes[index].astype(int)
  rows, columns = (((np.arange(n) + 0.5) * 112 / n).astype(int) for n in (y2 - y1, x2 - x1))
  mask[y1:y2, x1:x2] = example.masks[index][rows[:, None], columns]
  return mask


def test_paste_by_hand():
  below = _rectangles((6, 8), (0, 0, 4, 4), (0, 0, 2, 2), (0, 0, 8, 6), (6, 4, 8, 6))
  above = _rectangles((6, 8), (0, 0, 3, 3), (0, 0, 8, 6))  # It stays at the corner that cuts it.
  above[0, 2, 2] = 0
  example = paste.paste_view(
      np.random.default_rng(0), _view(below, 10, crowd=[False, False, True, False]),
      _view(above, 200, labels=[7, 8], crowd=[False, True]), max_instances=9)
  image = np.full((6, 8), 10)
  image[:3, :3] = 200
  image[2, 2] = 10
  np.testing.assert_array_equal(example.image, np.repeat(image[..., None], 3, axis=2))
  # The second instance is hidden; the first keeps 16 - 8 pixels, the crowd region 48 - 8.
  np.testing.assert_array_equal(example.labels, [1, 3, 4, 7])
  np.testing.assert_array_equal(example.crowd, [False, True, False, False])
  np.testing.assert_array_equal(
      example.boxes, [[0, 0, 4, 4], [0, 0, 8, 6], [6, 4, 8, 6], [0, 0, 3, 3]])
  np.testing.assert_array_equal(example.areas, [8, 40, 4, 8])
  pasted = image == 200
  for index, mask in enumerate([below[0] & ~pasted, below[2] & ~pasted, below[3], above[0]]):
    np.testing.assert_array_equal(_whole(example, index), mask, str(index))
  assert example.boxes.dtype == example.areas.dtype == np.float32


def test_boxes_beneath_shrink():
  example = paste.paste_view(
      np.random.default_rng(0), _view(_rectangles((6, 8), (0, 1, 6, 3)), 10),
      _view(_rectangles((6, 8), (0, 0, 4, 6)), 200), max_instances=9)
  np.testing.assert_array_equal(example.boxes, [[4, 1, 6, 3], [0, 0, 4, 6]])
  np.testing.assert_array_equal(example.areas, [4, 24])


def test_a_tenth_that_is_left_is_kept():
  covered = np.zeros((3, 20), bool)
  covered[0, :9], covered[1:, :19] = True, True
  record = _view(_rectangles((3, 20), (0, 0, 10, 1), (0, 1, 20, 2), (0, 2, 20, 3), (0, 2, 5, 3)), 0,
                 crowd=[False, False, True, True]).record
  left = paste.make_uncovered(record, covered, record.image)
  np.testing.assert_array_equal(left.labels, [1, 3])  # 1 of 10 pixels, and a crowd region's 1.
  np.testing.assert_array_equal(left.areas, [1, 1])
  np.testing.assert_array_equal(record.masks.sum(axis=(1, 2)), [10, 20, 20, 5])


def test_masks_beneath_are_copied_one_at_a_time():
  masks = _rectangles((600, 800), *[(10 * x, 20 * x, 10 * x + 15, 20 * x + 9) for x in range(25)])
  record = _view(masks, 0).record
  covered = np.arange(800) % 16 < np.full((600, 1), 4)
  tracemalloc.start()
  example = paste.make_uncovered(record, covered, record.image)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert len(example.labels) == 25 and (example.areas < 135).all()
  assert peak < 5 * masks[0].nbytes


def test_images_of_other_scales_by_hand():
  # Above: twice as large in the file; below: half as large.
  donor = _view(_rectangles((12, 16), (0, 0, 6, 4), (15, 11, 16, 12)), 200, scale=0.5)
  view = _view(_rectangles((3, 4), (0, 0, 3, 2)), 10, scale=2)
  layer, visible = paste.draw_layer(donor.record.masks, (6, 8))
  np.testing.assert_array_equal(layer, _rectangles((6, 8), (0, 0, 3, 2))[0] | (
      _rectangles((6, 8), (7, 5, 8, 6))[0]))
  np.testing.assert_array_equal(visible, [True, True])
  donor = donor._replace(record=donor.record._replace(crowd=np.array([False, True])))
  example = paste.paste_view(np.random.default_rng(0), view, donor, max_instances=9)
  np.testing.assert_array_equal((example.image == 200).all(axis=2), layer & (np.arange(8) < 4))
  np.testing.assert_array_equal(example.boxes, [[0, 0, 6, 4], [0, 0, 3, 2]])
  # Of the file's 6 pixels below the one with its centre at (1, 1) is covered, and that at (3, 1),
  # the corner of the pixel (3, 1), is not.
  np.testing.assert_array_equal(example.areas, [20, 6])


def test_instances_that_meet_no_centre_are_not_pasted():
  masks = _rectangles((8, 8), (2, 2, 3, 3), (4, 4, 6, 6))  # At half the size the first is none.
  layer, visible = paste.draw_layer(masks, (4, 4))
  np.testing.assert_array_equal(visible, [False, True])
  np.testing.assert_array_equal(layer, _rectangles((4, 4), (2, 2, 3, 3))[0])
  view, rng, found = _view(np.zeros((0, 4, 4)), 10), np.random.default_rng(0), set()
  for _ in range(100):
    example = paste.paste_view(rng, view, _view(masks, 200, scale=0.5), max_instances=9)
    assert (example.image == 200).all(axis=2).sum() == len(example.labels)
    found.add(tuple(example.labels))
  assert found == {(), (2,)}  # Never the first, also if both were chosen.
  assert (view.image == 10).all()


def test_groups_go_anywhere_inside_but_stay_at_edges():
  rng = np.random.default_rng(0)
  draw = lambda *boxes: paste.draw_shift(rng, np.float32(boxes), (6, 8), (7, 12))
  boxes = [1.5, 2, 4, 3], [2, 2, 3, 5.0]
  draws = [draw(*boxes) for _ in range(400)]
  assert {window for window, _ in draws} == {(1, 2, 4, 5)}
  assert {shift for _, shift in draws} == {(x, y) for x in range(-1, 9) for y in range(-2, 3)}
  assert {draw([0, 2, 3, 5])[1][0] for _ in range(20)} == {0}
  assert {draw([2, 2, 8, 5])[1][0] for _ in range(20)} == {4}
  assert {draw([2, 3, 4, np.nextafter(np.float32(6), np.float32(9))])
          for _ in range(1)}.pop()[0] == (2, 3, 4, 6)


def test_chosen_are_of_any_number_but_no_crowd_and_none_beyond_the_largest():
  record = _view(_rectangles((9, 9), (0, 0, 4, 4), (0, 0, 9, 9), (4, 4, 9, 9), (0, 0, 1, 1),
                             (5, 0, 7, 2)), 0, crowd=[False, True, False, False, False]).record
  rng = np.random.default_rng(0)
  found = [tuple(paste.draw_instances(rng, record, max_instances=4).tolist()) for _ in range(300)]
  assert set(found) == {(0,), (2,), (4,), (0, 2), (0, 4), (2, 4), (0, 2, 4)}
  counts = [sum(len(rows) == count for rows in found) for count in (1, 2, 3)]
  assert min(counts) > 75
  alone = record._replace(crowd=np.ones(5, bool))
  assert len(paste.draw_instances(rng, alone, max_instances=4)) == 0


def test_mirrored_views_have_mirrored_masks():
  view = flip_view(_view(_rectangles((6, 8), (0, 1, 3, 4)), 10))
  np.testing.assert_array_equal(view.record.masks, _rectangles((6, 8), (5, 1, 8, 4)))
  example = paste.paste_view(np.random.default_rng(0), _view(np.zeros((0, 6, 8)), 10),
                             flip_view(_view(_rectangles((6, 8), (0, 1, 3, 4)), 200)),
                             max_instances=9)
  x1, y1, x2, y2 = example.boxes[0].astype(int)
  assert (x1, x2, y2 - y1) == (5, 8, 3)
  assert (example.image[y1:y2, x1:x2] == 200).all() and (example.image == 200).sum() == 27


@hypothesis.given(seed=st.integers(0, 10**6), turns=st.sampled_from([0, 2]),
                  counts=st.tuples(st.integers(0, 5), st.integers(0, 5)))
@hypothesis.settings(max_examples=60, deadline=None)
def test_each_pixel_has_one_instance(seed, counts, turns):
  rng = np.random.default_rng(seed)
  height, width = rng.integers(3, 17, 2)
  below, above = (rng.integers(0, count + 1, (side_y, side_x)) for count, (side_y, side_x) in zip(
      counts, ((height, width), rng.integers(1, (height + 1, width + 1))), strict=True))
  masks, others = (np.array([grid == i for i in range(1, count + 1)], np.uint8).reshape(
      count, *grid.shape) for count, grid in zip(counts, (below, above), strict=True))
  other = _view(others, 200, labels=100 + np.arange(counts[1]))
  if turns == 2:  # Views with negative strides.
    other = other._replace(record=other.record._replace(masks=np.rot90(others, 2, axes=(1, 2))))
  example = paste.paste_view(rng, _view(masks, 10, labels=np.arange(counts[0])), other,
                             max_instances=4)
  whole = [_whole(example, i) for i in range(len(example.labels))]
  pasted = np.array([m for m, label in zip(whole, example.labels) if label >= 100], np.uint8)
  union = pasted.sum(axis=0) if len(pasted) else np.zeros((height, width))
  assert np.max(union) <= 1
  np.testing.assert_array_equal(example.image == 200, np.repeat(union[..., None] == 1, 3, axis=2))
  for mask, label, area in zip(whole, example.labels, example.areas, strict=True):
    assert mask.sum() == area
    if label < 100:
      np.testing.assert_array_equal(mask, masks[label] * (union == 0))
    else:
      assert area == others[label - 100].sum()
  hidden = [i for i in range(counts[0]) if i not in example.labels]
  for index in hidden:
    assert (masks[index] * (union == 0)).sum() < 0.1 * masks[index].sum() or not masks[index].any()


@pytest.mark.parametrize("max_instances", [1, 3])
def test_example_is_as_it_was_if_nothing_can_be_pasted(max_instances):
  view = _view(_rectangles((6, 8), (0, 1, 3, 4)), 10)
  donor = _view(_rectangles((6, 8), (0, 1, 3, 4)), 200, crowd=[True])
  example = paste.paste_view(np.random.default_rng(0), view, donor, max_instances=max_instances)
  assert (example.image == 10).all()
  np.testing.assert_array_equal(example.boxes, [[0, 1, 3, 4]])
