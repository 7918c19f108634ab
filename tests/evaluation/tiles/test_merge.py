"""Pieces, NMS and voting over the tiles of an image, on instances made by hand."""

import numpy as np
import pytest

from mnc_jax.config import InferenceConfig
from mnc_jax.evaluation.tiles.merge import merge_tiles
from mnc_jax.evaluation.tiles.run import TileResults
from mnc_jax.structs import Instances

SIZE = (100, 200)
LEFT, RIGHT, WHOLE = (0, 0, 100, 100), (60, 0, 200, 100), (0, 0, 200, 100)
OPTIONS = InferenceConfig()


def merge(rows, *, options=OPTIONS, masks=None):
  """Merges rows (box, window, score, label); masks fill their boxes unless given."""
  boxes, windows, scores, labels = zip(*rows, strict=True)
  masks = np.ones((len(rows), 8, 8), np.float32) if masks is None else np.float32(masks)
  boxes = np.float32(boxes)
  return merge_tiles(TileResults(Instances(
      boxes, np.int32(labels), np.float32(scores), masks, np.ones(len(rows), bool), 5, 7, boxes),
      np.float32(windows), np.zeros(0, np.float32)), SIZE, options)


def test_a_piece_loses_against_the_whole_object_although_it_scores_more():
  whole, piece = ((70, 10, 120, 60), RIGHT, 0.6, 1), ((70, 10, 99, 60), LEFT, 0.95, 2)
  found = merge([piece, whole])
  assert found.labels.tolist() == [1]
  np.testing.assert_allclose(found.boxes, [whole[0]])
  assert (found.dropped, found.truncated_proposals) == (5, 7)


@pytest.mark.parametrize(("other", "reason"), [
    (((70, 10, 120, 60), RIGHT, 0.4, 1), "less than half of the piece's score"),
    (((50, 10, 99, 60), (0, 0, 140, 100), 0.6, 1), "another object at the same border"),
    (((20, 10, 120, 95), RIGHT, 0.6, 1), "its mask is elsewhere"),
])
def test_what_ends_at_a_border_stays_if_nothing_continues_it(other, reason):
  piece = ((85, 10, 99, 60), LEFT, 0.95, 2)
  masks = np.ones((2, 8, 8))
  if "mask" in reason:
    masks[1, :, 4:] = 0
  elif "another" in reason:
    other = ((20, 10, 80, 60), *other[1:])
  assert sorted(merge([piece, other], masks=masks).labels) == [1, 2], reason


def test_what_ends_at_the_border_of_the_image_is_no_piece():
  at_edge, larger = ((0, 10, 30, 60), LEFT, 0.9, 2), ((0, 5, 60, 70), WHOLE, 0.8, 1)
  assert sorted(merge([at_edge, larger]).labels) == [1, 2]


def test_of_pieces_without_a_whole_object_the_larger_stays():
  larger, smaller = ((65, 10, 150, 60), (0, 0, 150, 100), 0.8, 1), ((65, 10, 99, 60), LEFT, 0.9, 1)
  found = merge([smaller, larger])
  np.testing.assert_allclose(found.boxes, [larger[0]])


def test_neighbours_stay_though_a_piece_of_each_is_in_the_others_tile():
  first, second = ((30, 10, 80, 60), LEFT, 0.8, 1), ((80, 10, 130, 60), RIGHT, 0.8, 1)
  of_first, of_second = ((61, 10, 80, 60), RIGHT, 0.9, 1), ((80, 10, 99, 60), LEFT, 0.9, 1)
  found = merge([first, of_second, second, of_first])
  np.testing.assert_allclose(found.boxes[np.argsort(found.boxes[:, 0])], [first[0], second[0]])


def test_copies_in_two_tiles_vote_on_mask_and_box():
  masks = np.zeros((3, 8, 8))
  masks[0], masks[1] = 1.0, 0.5
  rows = [((70, 20, 90, 50), LEFT, 0.9, 1), ((70, 20, 90, 40), RIGHT, 0.3, 1),
          ((70, 20, 90, 50), RIGHT, 0.2, 2)]
  found = merge(rows, masks=masks)
  assert found.labels.tolist() == [1, 2]
  np.testing.assert_allclose(found.scores, [0.9, 0.2])
  # Three quarters of the first box, one of the second.
  np.testing.assert_allclose(found.boxes[0], [70, 20, 90, 47.5], rtol=1e-6)
  np.testing.assert_allclose(found.mask_boxes[0], [70, 20, 90, 50], atol=1e-4)
  np.testing.assert_allclose(found.masks[0, [0, -1]], [[0.875] * 8, [0.75] * 8], rtol=1e-5)
  bounds = merge(rows, masks=masks, options=InferenceConfig(boxes="mask"))
  np.testing.assert_allclose(bounds.boxes[0], [70, 20, 90, 50], atol=1e-4)


def test_many_copies_of_many_instances():
  rng = np.random.default_rng(0)
  corners = np.array([(x, y) for x in range(0, 200, 10) for y in range(0, 100, 10)], float)
  boxes = np.concatenate([corners, corners + 9], axis=1)
  copies = np.concatenate([boxes + rng.normal(0, 0.2, boxes.shape) for _ in range(20)])
  scores = rng.uniform(0.2, 0.9, len(copies))
  found = merge([(box, WHOLE, score, 1) for box, score in zip(copies, scores, strict=True)])
  assert len(found.scores) == len(boxes) == 200
  np.testing.assert_array_equal(found.scores, np.sort(
      scores.reshape(20, 200).max(axis=0).astype(np.float32))[::-1])
  order = np.lexsort((found.boxes[:, 1].round(-1), found.boxes[:, 0].round(-1)))
  # The mean of 16 copies is closer than one.
  assert np.abs(found.boxes[order] - boxes).mean() < 0.08
  assert found.masks.shape == (200, 8, 8)


def test_soft_nms_keeps_copies_with_lowered_scores():
  options = InferenceConfig(nms="soft", soft_nms_sigma=0.5, min_score=0.05)
  found = merge([((70, 20, 90, 50), LEFT, 0.9, 1), ((70, 20, 90, 50), RIGHT, 0.8, 1),
                 ((10, 20, 25, 50), LEFT, 0.04, 1)], options=options)
  np.testing.assert_allclose(found.scores, [0.9, 0.8 * np.exp(-2)], rtol=1e-5)
