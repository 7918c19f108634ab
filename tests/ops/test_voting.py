"""Mask voting."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import oracles
from mnc_jax.ops.masks import paste_masks, resample_masks
from mnc_jax.ops.voting import vote_masks

HEIGHT, WIDTH, SIDE, CANDIDATES, CATEGORIES = 80, 100, 21, 24, 4
TRACES = []


def _vote_one(masks, boxes, scores, valid, height, width, min_score=0.0, refined=None, **options):
  return vote_masks(masks, boxes, scores, nms_iou=0.3, similar_iou=0.5, max_instances=8,
                    height=height, width=width, valid=valid, min_score=min_score,
                    refined_boxes=refined, **options)


@jax.jit
def _vote(masks, *others):
  TRACES.append((masks.shape, len(jax.tree.leaves(others))))
  return _vote_one(masks, *others)


def _padded(rows, columns, masks, boxes, scores):
  """Candidates with rows and categories added, and which rows are real."""
  add = rows - len(boxes)
  return (np.pad(masks, ((0, add), (0, 0), (0, 0))), np.pad(boxes, ((0, add), (0, 0))),
          np.pad(scores, ((0, add), (0, columns - scores.shape[1]))), np.arange(rows) < len(boxes))


def _by_category(boxes, categories):
  """Boxes [R, C, 4] that grow by a pixel to the right from category to category."""
  grown = np.arange(categories)[:, None] * np.float32([0, 0, 1, 0])
  return (np.asarray(boxes)[:, None] + grown).astype(np.float32)


def vote(masks, boxes, scores, height=HEIGHT, width=WIDTH, min_score=0.0, refined=None):
  """Votes on candidates padded to one of two shapes, so that the tests compile twice."""
  rows, columns = (33, CATEGORIES) if masks.shape[1] == SIDE else (75, 3)
  if refined is not None:
    refined = np.pad(refined, ((0, rows - len(boxes)), (0, columns - scores.shape[1]), (0, 0)))
  return _vote(*_padded(rows, columns, masks, boxes, scores), height, width, min_score, refined)


paste = jax.jit(paste_masks, static_argnums=(2, 3))


def _candidates(seed):
  """Jittered boxes around four objects, with an ellipse of varying softness in each."""
  rng = np.random.default_rng(seed)
  objects = np.array([[10, 10, 50, 40], [55, 20, 95, 70], [15, 45, 45, 78], [30, 25, 75, 60]])
  boxes = objects[np.arange(CANDIDATES) % 4] + rng.normal(scale=2, size=(CANDIDATES, 4))
  boxes = np.clip(boxes, 0, [WIDTH, HEIGHT] * 2).astype(np.float32)
  y, x = np.mgrid[-1:1:SIDE * 1j, -1:1:SIDE * 1j]
  radii = rng.uniform(0.7, 1.0, (CANDIDATES, 1, 1))
  masks = 1 / (1 + np.exp(-8 * (radii - np.hypot(x, y)[None])))
  scores = rng.dirichlet(np.ones(CATEGORIES), CANDIDATES)
  return masks.astype(np.float32), boxes, scores.astype(np.float32)


def test_by_hand():
  # Two candidates on the same box vote .2 and .6 for the only category.
  boxes = jnp.array([[10.0, 20.0, 30.0, 40.0]] * 2)
  masks = jnp.stack([jnp.zeros((4, 4)), jnp.ones((4, 4)).at[:, 2:].set(0.4)])
  found = vote(masks, boxes, jnp.array([[0.8, 0.2], [0.4, 0.6]]))
  np.testing.assert_array_equal(found.valid, [True] + [False] * 7)
  np.testing.assert_allclose(found.scores[0], 0.6)
  assert found.labels[0] == 1
  # The average is .75 left of x = 17.5 and .3 right of x = 22.5, in between linear: read on
  # 8 columns of 2.5 pixels, .75 .75 .75 .6375 | .4125 .3 .3 .3 exceed .4 up to x = 22.5.
  np.testing.assert_allclose(found.boxes[0], [10, 20, 22.5, 40], rtol=1e-6)
  # Four columns of 3.125 pixels there, centres at 11.5625 ... 17.8125, 20.9375.
  np.testing.assert_allclose(
      found.masks[0, 0], 0.75 - 0.45 / 5 * np.array([0, 0, 0.3125, 3.4375]), rtol=1e-4)


def test_masks_of_boxes_half_outside_the_image_are_not_squeezed():
  boxes = jnp.array([[-20, 10, 20, 50], [80, 10, 120, 50], [40, 60, 60, 100]], jnp.float32)
  left = jnp.zeros((4, 4)).at[:, :2].set(1)
  lower = jnp.ones((4, 4)).at[0].set(0)
  found = vote(jnp.stack([left, left, lower]), boxes,
               jnp.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]))
  np.testing.assert_array_equal(found.valid, [True] * 3 + [False] * 5)
  # All cells are 10 pixels. The first mask falls from 1 at x = -5 to 0 at 5: .375 in the first
  # of 8 columns, so that nothing is above .4 and the box stays, clipped. So does the second, which
  # falls from 1 at 95 to .5 at the image's edge. The third rises from 0 at y = 65 to 1 at 75;
  # of 8 rows of 2.5 pixels, the one that begins at 70 is the first above .4 (.625).
  np.testing.assert_allclose(
      found.boxes[:3], [[0, 10, 20, 50], [80, 10, 100, 50], [40, 70, 60, 80]], rtol=1e-6)
  columns = [np.tile(row, (4, 1)) for row in ([0.25, 0, 0, 0], [1, 1, 1, 0.75])]
  rows = np.tile([0.625, 0.875, 1, 1], (4, 1)).T
  np.testing.assert_allclose(found.masks[:3], [*columns, rows], atol=1e-5)


def test_boxes_are_compared_inside_the_image():
  # Alike as far as the image shows; whole, their IoU is .25 and they would be two instances.
  boxes = jnp.array([[0, 10, 20, 50], [-60, 10, 20, 50]], jnp.float32)
  masks = jnp.stack([jnp.ones((4, 4)), jnp.zeros((4, 4))])
  found = vote(masks, boxes, jnp.array([[0.4, 0.6], [0.8, 0.2]]))
  assert found.valid.sum() == 1
  np.testing.assert_allclose(found.boxes[0], [0, 10, 20, 50], rtol=1e-6)
  np.testing.assert_allclose(found.masks[0], np.full((4, 4), 0.75), rtol=1e-5)


def test_nothing_above_the_threshold_keeps_the_box():
  boxes = jnp.array([[10.0, 20.0, 30.0, 40.0]] * 2)
  masks = jnp.stack([jnp.full((4, 4), 0.1), jnp.full((4, 4), 0.3)])
  found = vote(masks, boxes, jnp.array([[0.4, 0.6], [0.8, 0.2]]))
  np.testing.assert_allclose(found.boxes[0], boxes[0])
  np.testing.assert_allclose(found.masks[0], np.full((4, 4), 0.15), rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_against_the_average_in_the_image_frame(seed):
  masks, boxes, scores = _candidates(seed)
  expected = oracles.vote_masks(masks, boxes, scores, 0.3, 0.5, 8, HEIGHT, WIDTH)
  found = vote(masks, boxes, scores)
  assert len(expected) == int(found.valid.sum()) > 4
  np.testing.assert_array_equal(found.labels, [label for label, *_ in expected])
  np.testing.assert_allclose(found.scores, [score for _, _, score, _ in expected], rtol=1e-6)
  pasted = np.asarray(paste(found.masks, found.boxes, HEIGHT, WIDTH)) > 0.4
  for got, box, (_, _, _, soft) in zip(pasted, np.asarray(found.boxes), expected):
    want = soft > 0.4
    assert np.sum(got & want) / np.sum(got | want) >= 0.9
    rows, columns = np.nonzero(want)
    tight = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    # One cell of the 2 * 21 grid is at most 1.2 pixels here, a pixel is 1.
    np.testing.assert_allclose(box, tight, atol=2.2)


def test_more_voters_than_a_block_count_all():
  # 75 candidates on one box: the average of 0 ... 74, weighted by score.
  boxes = jnp.broadcast_to(jnp.array([[5.0, 5.0, 15.0, 15.0]]), (75, 4))
  values, scores = np.arange(75) / 74, 0.1 + np.arange(75)[::-1] / 100
  masks = jnp.broadcast_to(jnp.asarray(values, jnp.float32)[:, None, None], (75, 4, 4))
  found = vote(masks, boxes, jnp.asarray(np.stack([1 - scores, scores], axis=1), jnp.float32))
  assert found.valid.sum() == 1
  np.testing.assert_allclose(
      found.masks[0], np.full((4, 4), np.average(values, weights=scores)), rtol=1e-5)


def test_instances_with_many_and_few_voters_share_the_turns():
  # Thirty objects: one is found by 61 candidates, one by 30, ..., the last by two.
  voters = np.array([61, *range(30, 1, -1)])
  left = 20.0 * np.repeat(np.arange(30), voters)
  rng = np.random.default_rng(7)
  boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=1)
  boxes = (boxes + rng.uniform(-0.5, 0.5, boxes.shape)).clip(0).astype(np.float32)
  order = rng.permutation(len(boxes))
  boxes, masks = boxes[order], rng.uniform(0.5, 1, (len(boxes), 4, 4)).astype(np.float32)
  scores = rng.uniform(0.1, 1, len(boxes)).astype(np.float32)
  found = jax.jit(functools.partial(
      vote_masks, nms_iou=0.3, similar_iou=0.5, max_instances=33, height=20, width=700))(
          masks, boxes, np.stack([1 - scores, scores], axis=1))
  np.testing.assert_array_equal(found.valid, np.arange(33) < 30)
  number = np.rint(boxes[:, 0] / 20)
  for box, mask in zip(np.asarray(found.boxes[:30]), np.asarray(found.masks[:30])):
    weights = np.where(number == np.rint(box[0] / 20), scores, 0)
    read = resample_masks(masks, boxes, np.broadcast_to(box, boxes.shape), 4)
    np.testing.assert_allclose(mask, np.average(read, axis=0, weights=weights), rtol=1e-5)


def test_order_of_equal_scores():
  boxes = jnp.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], jnp.float32)
  scores = jnp.array([[0, 0.5, 0.5], [0, 0.5, 0.25], [0, 0.25, 0.5]])
  found = vote(jnp.ones((3, 4, 4)), boxes, scores)
  np.testing.assert_array_equal(found.labels, [1, 1, 2, 2, 1, 2, 0, 0])
  np.testing.assert_allclose(found.boxes[:6, 0], [0, 20, 0, 40, 40, 20], atol=1e-5)


def test_refined_boxes_are_averaged_by_hand():
  # Two vote .2 and .6 for the first category, the third for the second category is elsewhere.
  boxes = jnp.array([[10, 20, 30, 40], [10, 20, 30, 40], [60, 20, 80, 40]], jnp.float32)
  masks = jnp.stack([jnp.zeros((4, 4)), jnp.ones((4, 4)), jnp.ones((4, 4))])
  scores = jnp.array([[0.8, 0.2, 0.0], [0.4, 0.6, 0.0], [0.5, 0.0, 0.5]])
  nan = [np.nan] * 4
  refined = jnp.array([[nan, [8, 20, 30, 44], nan], [nan, [12, 16, 34, 40], nan],
                       [nan, nan, [62, 22, 106, 38]]])
  found = vote(masks, boxes, scores, refined=refined)
  np.testing.assert_array_equal(found.labels[:3], [1, 2, 0])
  # A quarter of the first and three quarters of the second. The other is cut at the image.
  np.testing.assert_allclose(
      found.boxes[:2], [[11, 17, 33, 41], [62, 22, 100, 38]], rtol=1e-6)
  # Masks and all else are as without them.
  plain = vote(masks, boxes, scores)
  np.testing.assert_array_equal(plain.boxes, plain.mask_boxes)
  np.testing.assert_allclose(plain.boxes[:2], boxes[1:], rtol=1e-6)
  jax.tree.map(np.testing.assert_array_equal, found._replace(boxes=plain.boxes), plain)


def test_an_average_box_without_area_becomes_the_bounds_of_the_mask():
  # Beyond the image, inverted, and narrow but not empty.
  boxes = jnp.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], jnp.float32)
  moved = jnp.array([[-30, 0, -20, 10], [28, 0, 22, 10], [41, 0, 41.5, 10]])
  refined = jnp.stack([boxes, moved, boxes], axis=1)
  scores = jnp.array([[0.1, 0.9, 0], [0.2, 0.8, 0], [0.3, 0.7, 0]])
  found = vote(jnp.ones((3, 4, 4)), boxes, scores, refined=refined)
  np.testing.assert_allclose(
      found.boxes[:3], [[0, 0, 10, 10], [20, 0, 30, 10], [41, 0, 41.5, 10]], rtol=1e-6)


def test_zero_nan_and_invalid_candidates_are_never_chosen():
  boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], np.float32)
  scores = np.array([[1.0, 0.0], [0.0, np.nan], [0.0, 1.0]], np.float32)
  masks, boxes, scores, valid = _padded(75, 3, np.ones((3, 4, 4), np.float32), boxes, scores)
  valid[2] = False
  found = _vote(masks, boxes, scores, valid, HEIGHT, WIDTH, 0.0, _by_category(boxes + 1, 3))
  assert not any(np.any(part) for part in found)


def test_candidates_without_area_in_the_image_neither_are_instances_nor_vote():
  beside = [[WIDTH, 0, WIDTH + 10, 10], [10, 10, 10, 20], [np.nan] * 4]
  boxes = np.array([[0, 0, 10, 10], *beside], np.float32)
  scores = np.array([[0.4, 0.6], [0.1, 0.9], [0.1, 0.9], [0.1, 0.9]], np.float32)
  found = vote(np.ones((4, 4, 4), np.float32), boxes, scores)
  assert found.valid.sum() == 1 and found.dropped == 0
  np.testing.assert_allclose(found.boxes[0], [0, 0, 10, 10], atol=1e-5)
  np.testing.assert_allclose(found.scores[0], 0.6)


def test_scores_of_background_alone_are_an_error():
  with pytest.raises(ValueError, match="class_scores has 1 column: it needs background and a cat"):
    vote_masks(jnp.ones((2, 4, 4)), jnp.zeros((2, 4)), jnp.ones((2, 1)), nms_iou=0.5,
               similar_iou=0.5, max_instances=2, height=8, width=8)


def test_padding_never_changes_the_result():
  candidates = _candidates(3)
  plain = vote(*candidates, refined=_by_category(candidates[1] + 1, CATEGORIES))
  assert np.abs(plain.boxes - plain.mask_boxes).max() > 0.5
  masks, boxes, scores, valid = _padded(33, CATEGORIES, *candidates)
  nan = [np.where(valid.reshape((-1,) + (1,) * (x.ndim - 1)), x, np.nan).astype(np.float32)
         for x in (masks, boxes, scores)]
  boxes[CANDIDATES:], scores[CANDIDATES:] = boxes[:9], 1.0
  for padded in (nan, (masks, boxes, scores)):
    refined = _by_category(padded[1] + 1, CATEGORIES)
    for a, b in zip(plain, _vote(*padded, valid, HEIGHT, WIDTH, 0.0, refined), strict=True):
      np.testing.assert_allclose(b, a, atol=1e-6)


def test_boxes_stay_in_the_image_and_image_sizes_share_one_trace():
  for height, width in ((HEIGHT, WIDTH), (50, 60)):
    found = vote(*_candidates(4), height, width)
    assert np.all(found.boxes >= 0)
    assert np.all(found.boxes <= np.array([[width, height, width, height]]) + 1e-4)
    assert found.valid.any()
  assert TRACES.count(((33, SIDE, SIDE), 6)) == 1


def test_degenerate_boxes_are_finite():
  scores = np.random.default_rng(0).dirichlet(np.ones(3), 8).astype(np.float32)
  found = vote(np.ones((8, 4, 4), np.float32), oracles.DEGENERATE_BOXES, scores)
  assert found.valid.any()
  assert all(np.all(np.isfinite(part)) for part in found)


def test_vmap_agrees_with_a_loop():
  batches = [_padded(33, CATEGORIES, *_candidates(seed)) for seed in (5, 6)]
  stacked = [np.stack(column) for column in zip(*batches)]
  together = jax.jit(jax.vmap(_vote_one, in_axes=(0, 0, 0, 0, None, None)))(
      *stacked, HEIGHT, WIDTH)
  for i, batch in enumerate(batches):
    for a, b in zip(_vote(*batch, HEIGHT, WIDTH, 0.0), together, strict=True):
      np.testing.assert_allclose(b[i], a, atol=1e-4)


def test_no_gradient_flows():
  scores = np.random.default_rng(1).dirichlet(np.ones(3), 6).astype(np.float32)
  boxes = oracles.random_boxes(np.random.default_rng(2), 6, 20, 5.0)
  @jax.jit
  def total(masks, boxes, scores):
    found = vote_masks(masks, boxes, scores, nms_iou=0.3, similar_iou=0.5, max_instances=2,
                       height=20, width=20)
    return found.masks.sum() + found.boxes.sum() + found.scores.sum()
  value, gradients = jax.value_and_grad(total, argnums=(0, 1, 2))(
      np.ones((6, 4, 4), np.float32), boxes, scores)
  assert value > 1 and not any(g.any() for g in gradients)


@pytest.fixture(scope="module")
def vote_softly():
  compiled = jax.jit(functools.partial(_vote_one, nms="soft", soft_nms_sigma=0.4))
  return lambda *candidates, min_score: compiled(
      *_padded(33, CATEGORIES, *candidates), HEIGHT, WIDTH, min_score)


def test_soft_nms_against_the_oracle(vote_softly):
  candidates = _candidates(0)
  expected = oracles.vote_masks(*candidates, 0.3, 0.5, 8, HEIGHT, WIDTH, soft_nms_sigma=0.4)
  found = vote_softly(*candidates, min_score=0.0)
  np.testing.assert_array_equal(found.labels, [label for label, *_ in expected])
  lowered = np.array([score for _, _, score, _ in expected])
  np.testing.assert_allclose(found.scores, lowered, rtol=1e-5)
  unchanged = np.array([candidates[2][i, label] for label, i, _, _ in expected])
  assert (lowered < unchanged - 0.01).any()
  # The votes are not lowered: masks are the averages weighted by the candidates' own scores.
  pasted = np.asarray(paste(found.masks, found.boxes, HEIGHT, WIDTH)) > 0.4
  for got, (_, _, _, soft) in zip(pasted, expected):
    assert np.sum(got & (soft > 0.4)) / np.sum(got | (soft > 0.4)) >= 0.9


def test_soft_nms_by_hand(vote_softly):
  # Two equal boxes: the worse comes last, after one elsewhere. Both masks vote .6 : .2 each time.
  boxes = np.array([[10, 20, 30, 40], [10, 20, 30, 40], [60, 20, 80, 40]], np.float32)
  masks = np.full((3, SIDE, SIDE), np.float32([1, 0.2, 1])[:, None, None])
  scores = np.array([[0.4, 0.6], [0.8, 0.2], [0.9, 0.1]], np.float32)
  found = vote_softly(masks, boxes, scores, min_score=0.0)
  np.testing.assert_allclose(found.scores[:4], [0.6, 0.1, 0.2 * np.exp(-2.5), 0], rtol=1e-5)
  np.testing.assert_array_equal(found.valid, [True] * 3 + [False] * 5)
  np.testing.assert_allclose(found.boxes[:3], boxes[[0, 2, 1]], rtol=1e-6)
  np.testing.assert_allclose(found.masks[:3, 0, 0], [0.8, 1, 0.8], rtol=1e-5)
  # .2 e^-2.5 is .0164.
  for min_score, count in ((0.016, 3), (0.017, 2), (0.11, 1), (0.7, 0)):
    fewer = vote_softly(masks, boxes, scores, min_score=min_score)
    for a, b in zip(fewer[:5], found[:5], strict=True):
      np.testing.assert_array_equal(a[:count], b[:count])
      assert not np.any(a[count:])


def test_the_smallest_score_takes_instances_but_no_votes():
  masks, boxes, scores = _candidates(1)
  whole = vote(masks, boxes, scores)
  limit = float(whole.scores[3])
  fewer = vote(masks, boxes, scores, min_score=limit)
  np.testing.assert_array_equal(fewer.valid, np.arange(8) < 4)
  # Some that vote are below the limit.
  assert np.sum(scores[:, 1:] < limit) > np.sum(scores[:, 1:] >= limit)
  for a, b in zip(fewer[:5], whole[:5], strict=True):
    np.testing.assert_allclose(a[:4], b[:4], atol=1e-5)
    assert not np.any(a[4:])


def test_an_unknown_nms_is_named():
  with pytest.raises(ValueError, match="nms is 'hard': it must be \"greedy\" or \"soft\""):
    vote_masks(jnp.ones((1, 4, 4)), jnp.ones((1, 4)), jnp.ones((1, 2)), nms_iou=0.3,
               similar_iou=0.5, max_instances=1, height=9, width=9, nms="hard")


def test_instances_beyond_max_instances_are_counted():
  boxes = jnp.array([[0.0, 0, 10, 10], [20, 0, 30, 10], [0, 20, 10, 30]])
  scores = jnp.array([[0.1, 0.9, 0.3], [0.2, 0.8, 0.0], [0.3, 0.7, 0.0]])
  @functools.partial(jax.jit, static_argnames="max_instances")
  def count(max_instances, min_score):
    found = vote_masks(jnp.ones((3, 4, 4)), boxes, scores, nms_iou=0.3, similar_iou=0.5,
                       height=40, width=40, max_instances=max_instances, min_score=min_score)
    return found.valid.sum(), found.dropped, found.truncated_proposals
  for slots, min_score, dropped in ((4, 0.0, 0), (3, 0.0, 1), (3, 0.5, 0), (2, 0.0, 2),
                                    (1, 0.0, 2)):
    assert count(slots, min_score) == (min(slots, 4 - (min_score > 0)), dropped, 0)


@pytest.mark.parametrize("nms", ["greedy", "soft"])
def test_with_one_category_one_instance_beyond_max_instances_is_counted(nms):
  boxes = np.arange(5)[:, None] * 20 + np.array([0.0, 0, 10, 10])
  scores = jnp.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6], [0.5, 0.5]])
  def find(slots):
    return vote_masks(jnp.ones((5, 4, 4)), boxes, scores, nms_iou=0.3, similar_iou=0.5, height=99,
                      width=99, max_instances=slots, nms=nms)
  whole = find(5)
  assert (whole.valid.sum(), whole.dropped) == (5, 0)
  for slots, dropped in ((6, 0), (4, 1), (2, 1)):
    found = find(slots)
    assert found.dropped == dropped
    np.testing.assert_array_equal(found.boxes[:slots], whole.boxes[:slots] if slots < 5 else
                                  np.pad(whole.boxes, ((0, 1), (0, 0))))
    assert found.labels.max() == 1


def test_without_candidates_there_are_no_instances():
  empty = (np.zeros((0, 5, 5), np.float32), np.zeros((0, 4), np.float32),
           np.zeros((0, 3), np.float32))
  for others in ({}, {"nms": "soft", "refined": np.zeros((0, 3, 4), np.float32)}):
    found = jax.jit(functools.partial(_vote_one, **others))(
        *empty, valid=np.zeros(0, bool), height=9, width=9)
    assert (found.boxes.shape, found.masks.shape) == ((8, 4), (8, 5, 5))
    assert not any(np.any(x) for x in found)


def test_valid_candidates_may_be_any_number_but_0():
  candidates = _candidates(2)
  usable = np.arange(CANDIDATES) % 3 > 0
  found, expected, whole = (_vote(*candidates, valid, HEIGHT, WIDTH) for valid in (
      usable * 2, usable, np.ones(CANDIDATES, bool)))
  assert (expected.scores < whole.scores).any()
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_dtypes_of_candidates_may_differ():
  masks, boxes, scores = _candidates(3)
  wide = (np.float64(masks), np.float64(boxes), np.float64(scores))
  with jax.enable_x64(True):
    expected = _vote(*wide, None, HEIGHT, WIDTH)
    for mixed in ((masks, *wide[1:]), (wide[0], boxes, wide[2]), (*wide[:2], scores)):
      found = _vote(*mixed, None, HEIGHT, WIDTH)
      jax.tree.map(np.testing.assert_array_equal, found, expected)
