"""Voting: candidates with similar boxes average their masks and boxes (paper, section 3.4)."""

from collections.abc import Callable
import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from mnc_jax.ops.boxes import as_float, box_areas, box_iou, clip_boxes
from mnc_jax.ops.masks import resample_masks
from mnc_jax.ops.nms import nms, soft_nms
from mnc_jax.ops.sampling import top_indices
from mnc_jax.structs import Array, Instances

# Voters of one instance in a block, and blocks read in a turn. Small blocks, because the last one
# of each instance is partly empty. Inference maps over images and copies the averages every turn:
# there on CPU 32 blocks take 78 ms where 16 take 83 and 8 take 85 (600 candidates, 100 instances).
_BLOCK, _BLOCKS_PER_TURN = 8, 32


def vote_masks(masks: Array, boxes: Array, class_scores: Array, *, nms_iou: float,
               similar_iou: float, max_instances: int, height: int | Array, width: int | Array,
               valid: Array | None = None, mask_threshold: float = 0.4, nms: str = "greedy",
               soft_nms_sigma: float = 0.5, min_score: float = 0.0,
               refined_boxes: Array | None = None) -> Instances:
  """Turns candidates of all categories into instances.

  Per category, NMS chooses boxes; over all categories the best `max_instances` stay. For each,
  the candidates of box IoU >= `similar_iou` vote: their masks, 0 outside their own boxes, are
  averaged in the image frame, weighted by their scores of the instance's category. The mask
  fills the bounding box of the average above `mask_threshold`. That is the instance's box too
  (Dai et al.'s release), or the average of the voters' `refined_boxes` with the same weights (box
  voting: Gidaris and Komodakis 2015, section 4).

  Boxes are compared after clipping to the image. Masks are read in the boxes before clipping,
  because a mask fills its whole box and must not be squeezed into the part inside the image.

  No image-size canvas is drawn. The average is first taken on a 2M x 2M grid in the hull of
  the voting boxes, whose cells above `mask_threshold` give its bounds; then again from the
  candidates, M x M in these bounds.

  Args:
    masks: [R, M, M] probabilities inside each box.
    boxes: [R, 4] pixels, may reach outside the image.
    class_scores: [R, C], background first. Candidates of zero, negative or NaN score are never
      chosen and never vote.
    nms_iou: boxes whose IoU with a better one of their category is higher are suppressed. Unused
      by soft-NMS.
    similar_iou: candidates at or above this IoU vote.
    max_instances: D.
    height: pixels of the image, may be traced; boxes are clipped there.
    width: pixels of the image, may be traced.
    valid: [R] bool, False in padding. None: all rows are valid.
    mask_threshold: pixels whose average is above it belong to the instance.
    nms: "greedy" (`ops.nms.nms`), or "soft" (`soft_nms`): boxes that overlap a better one
      stay, and their instances have the lowered scores. Votes keep the candidates' own scores.
    soft_nms_sigma: sigma of `soft_nms`.
    min_score: instances of lower score are not returned; their candidates still vote.
    refined_boxes: [R, C, 4] the box of each candidate as an instance of each category, which may
      differ from the one that its mask fills. Those without a vote are not read. None: boxes are
      the bounds of the masks.

  Returns:
    `Instances` with D rows, best first, of equal scores the lower category, then the
    lower candidate first; all zero where `valid` is False. Boxes are inside the image. Masks fill
    `mask_boxes`, which do not depend on `refined_boxes`. `truncated_proposals` is 0.

  Degenerate input:
    Without a valid candidate, no row is valid. If the average mask is nowhere above the
    threshold, its bounds are the chosen candidate's box, clipped. An average box without area is
    replaced by the bounds of the mask.

  Gradient:
    Not differentiable.

  Raises:
    ValueError: for another `nms`.

  Example:
    >>> import functools
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> masks = jnp.stack([jnp.full((2, 2), 0.5), jnp.ones((2, 2))])
    >>> boxes = jnp.array([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 4.0]])
    >>> class_scores = jnp.array([[0.25, 0.75], [0.75, 0.25]])
    >>> vote = jax.jit(functools.partial(
    ...     mnc_jax.vote_masks, nms_iou=0.3, similar_iou=0.5, max_instances=2, height=8, width=8))
    >>> found = vote(masks, boxes, class_scores)
    >>> print(found.labels, found.scores, found.valid)
    [1 0] [0.75 0.  ] [ True False]
    >>> print(found.masks[0])  # .75 of the first mask and .25 of the second.
    [[0.625 0.625]
     [0.625 0.625]]
  """
  chex.assert_rank([masks, boxes, class_scores], [3, 2, 2])
  chex.assert_shape(boxes, (masks.shape[0], 4))
  chex.assert_axis_dimension(class_scores, 0, masks.shape[0])
  # Inference only: choosing instances has no gradient.
  masks, boxes, scores = jax.lax.stop_gradient(
      tuple(as_float(x) for x in (masks, boxes, class_scores)))
  usable = (scores > 0) & jnp.isfinite(scores)
  if valid is not None:
    usable &= valid[:, None]
  scores = jnp.where(usable, scores, 0.0)
  clipped = clip_boxes(boxes, height, width)
  choose = _nms_function(nms, nms_iou, soft_nms_sigma)
  chosen, labels, chosen_scores, found, dropped = _choose_instances(
      clipped, scores, choose, max_instances, min_score)
  votes = jax.vmap(functools.partial(_vote_weights, clipped, similar_iou=similar_iou))(
      scores.T[labels], chosen)
  votes = jnp.where(found[:, None], votes, 0.0)
  mask_boxes, voted_masks = _vote(masks, boxes, clipped, votes, chosen, mask_threshold)
  voted_boxes = mask_boxes
  if refined_boxes is not None:
    chex.assert_shape(refined_boxes, (*scores.shape, 4))
    voted_boxes = clip_boxes(
        _average_boxes(jax.lax.stop_gradient(as_float(refined_boxes)), votes, labels),
        height, width)
    voted_boxes = jnp.where(box_areas(voted_boxes)[:, None] > 0, voted_boxes, mask_boxes)
  return Instances(
      boxes=jnp.where(found[:, None], voted_boxes, 0.0),
      labels=jnp.where(found, labels, 0),
      scores=jnp.where(found, chosen_scores, 0.0),
      masks=jnp.where(found[:, None, None], voted_masks, 0.0),
      valid=found,
      dropped=dropped,
      truncated_proposals=jnp.zeros_like(dropped),
      mask_boxes=jnp.where(found[:, None], mask_boxes, 0.0))


def average_masks(masks: Array, boxes: Array, votes: Array, chosen: Array, *, height: int | Array,
                  width: int | Array, mask_threshold: float | Array = 0.4
                  ) -> tuple[jax.Array, jax.Array]:
  """Averages masks as `vote_masks` does, for instances and voters that are already known.

  Args:
    masks: [R, M, M] probabilities inside each box.
    boxes: [R, 4] pixels, may reach outside the image.
    votes: [D, R] weights of the voters of each instance, summing to 1; 0 for all others.
    chosen: [D] int32, the row whose box an instance gets if its average is nowhere above the
      threshold.
    height: pixels of the image.
    width: pixels of the image.
    mask_threshold: pixels whose average is above it belong to the instance.

  Returns:
    boxes: [D, 4], the bounds of each average above the threshold.
    masks: [D, M, M], the averages inside these.

  Gradient:
    Not differentiable.
  """
  masks, boxes = (jax.lax.stop_gradient(as_float(x)) for x in (masks, boxes))
  return _vote(masks, boxes, clip_boxes(boxes, height, width), votes, chosen, mask_threshold)


def _nms_function(kind: str, nms_iou: float, sigma: float) -> Callable:
  """Returns a function with the arguments and results of `soft_nms`."""
  if kind == "soft":
    return functools.partial(soft_nms, sigma=sigma)
  if kind != "greedy":
    raise ValueError(f'nms is {kind!r}: it must be "greedy" or "soft"')

  def greedy(boxes, scores, **options):
    indices, kept = nms(boxes, scores, iou_threshold=nms_iou, **options)
    return indices, scores[indices], kept

  return greedy


def _choose_instances(boxes, scores, choose, max_instances, min_score):
  """Returns candidate, label, score and validity, [D] each, and the number dropped, []."""
  choose_in_category = lambda column: choose(
      boxes, column, max_outputs=max_instances, valid=column > 0)
  indices, kept_scores, kept = jax.vmap(choose_in_category, in_axes=1)(scores[:, 1:])
  kept_scores = kept_scores.reshape(-1)
  kept = kept.reshape(-1) & (kept_scores >= min_score)
  slots, found = top_indices(jnp.where(kept, kept_scores, -jnp.inf), max_instances)
  return (indices.reshape(-1)[slots], slots // max_instances + 1, kept_scores[slots], found,
          kept.sum(dtype=jnp.int32) - found.sum(dtype=jnp.int32))


def _average_boxes(boxes, votes, labels):
  """Returns the averages [D, 4] of boxes [R, C, 4] of the categories [D], by `votes` [D, R]."""
  of_category = boxes.swapaxes(0, 1)[labels]
  shares = votes[..., None]
  # Boxes without a vote are replaced, not multiplied by 0: padding may hold NaN. No matrix product:
  # on accelerators it would round coordinates.
  return jnp.sum(jnp.where(shares > 0, shares * of_category, 0.0), axis=1)


def _vote(masks, boxes, clipped, votes, chosen, mask_threshold):
  """Returns the boxes [D, 4] and masks [D, M, M] that the candidates vote by `votes` [D, R].

  Masks fill `boxes`; `clipped` are the same boxes clipped to the image.
  """
  average = functools.partial(_average_masks, masks, boxes, votes, _list_voters(votes))
  hulls = jax.vmap(_hull, in_axes=(None, 0))(clipped, votes > 0)
  size = masks.shape[1]
  above = average(hulls, 2 * size) > mask_threshold
  bounds = jax.vmap(_bounds)(above, hulls)
  voted = jnp.where(above.any(axis=(1, 2))[:, None], bounds, clipped[chosen])
  return voted, average(voted, size)


def _vote_weights(boxes, scores, chosen, *, similar_iou):
  """Returns the weight of each candidate, [R], summing to 1 over the voters, else 0."""
  similar = box_iou(boxes[chosen][None], boxes)[0] >= similar_iou
  # A box votes for itself even if it is empty.
  similar |= jnp.arange(boxes.shape[0]) == chosen
  weights = jnp.where(similar, scores, 0.0)
  total = weights.sum()
  return weights / jnp.where(total > 0, total, 1.0)


class _Voters(NamedTuple):
  """The voters of all instances, each instance's in blocks of its own, one after another.

  Attributes:
    rows: [blocks, _BLOCK] int32, candidates; R in unused slots.
    starts: [D] int32, the first block of each instance.
    num_turns: [] int32, turns of `_BLOCKS_PER_TURN` blocks that hold all voters.
  """
  rows: jax.Array
  starts: jax.Array
  num_turns: jax.Array


def _list_voters(votes):
  """Returns the `_Voters` of weights [D, R], without sorting them."""
  num_instances, num_rows = votes.shape
  voting = votes > 0
  num_blocks = -(-jnp.sum(voting, axis=1, dtype=jnp.int32) // _BLOCK)
  ends = jnp.cumsum(num_blocks, dtype=jnp.int32)
  starts = ends - num_blocks
  # As many as if all candidates voted for every instance, in whole turns.
  most = num_instances * -(-num_rows // _BLOCK)
  most += -most % _BLOCKS_PER_TURN
  position = jnp.cumsum(voting, axis=1, dtype=jnp.int32) - 1
  slots = jnp.where(voting, starts[:, None] * _BLOCK + position, most * _BLOCK)
  candidates = jnp.broadcast_to(jnp.arange(num_rows, dtype=jnp.int32)[None], votes.shape)
  rows = jnp.full(most * _BLOCK, num_rows, jnp.int32).at[slots].set(candidates, mode="drop")
  num_turns = -(-jnp.sum(num_blocks, dtype=jnp.int32) // _BLOCKS_PER_TURN)
  return _Voters(rows.reshape(most, _BLOCK), starts, num_turns)


def _average_masks(masks, boxes, votes, voters, frames, size):
  """Returns the averages of the masks in boxes `frames` [D, 4], weighted by `votes`.

  All instances share the turns of the loop: one at a time would take D turns and more, and one
  per row of a batch as many for each as for the instance with most voters.

  Returns:
    [D, size, size].
  """
  def add_blocks(turn, total):
    first = turn * _BLOCKS_PER_TURN
    rows = jax.lax.dynamic_slice_in_dim(voters.rows, first, _BLOCKS_PER_TURN)
    blocks = first + jnp.arange(_BLOCKS_PER_TURN, dtype=jnp.int32)
    # Instances without voters start where the next one does; the last that starts owns the block.
    owners = jnp.sum(voters.starts[None] <= blocks[:, None], axis=1, dtype=jnp.int32) - 1
    shares = votes.at[owners[:, None], rows].get(mode="fill", fill_value=0.0)
    shares, rows = shares.reshape(-1, 1, 1), rows.reshape(-1)
    # Masks without a vote are replaced, not multiplied by 0: padding may hold NaN.
    weighted = jnp.where(shares > 0, shares * masks[rows], 0.0)
    read = resample_masks(
        weighted, boxes[rows], jnp.repeat(frames[owners], _BLOCK, axis=0), size)
    read = read.reshape(_BLOCKS_PER_TURN, _BLOCK, size, size)
    return total.at[owners].add(jnp.sum(read, axis=1))

  averages = jnp.zeros((frames.shape[0], size, size), masks.dtype)
  return jax.lax.fori_loop(0, voters.num_turns, add_blocks, averages)


def _hull(boxes, chosen):
  """Returns the smallest box [4] around the chosen boxes; zeros without one."""
  low = jnp.min(jnp.where(chosen[:, None], boxes[:, :2], jnp.inf), axis=0)
  high = jnp.max(jnp.where(chosen[:, None], boxes[:, 2:], -jnp.inf), axis=0)
  return jnp.where(chosen.any(), jnp.concatenate([low, high]), 0.0)


def _bounds(above, frame):
  """Returns the box [4] around the True cells of a grid [S, S] that fills `frame` [4]."""
  sides = []
  for axis, low, high in ((0, frame[0], frame[2]), (1, frame[1], frame[3])):
    occupied = above.any(axis=axis)
    cells = occupied.shape[0]
    first, last = jnp.argmax(occupied), cells - jnp.argmax(occupied[::-1])
    sides.append((low + (high - low) * first / cells, low + (high - low) * last / cells))
  (x1, x2), (y1, y2) = sides
  return jnp.stack([x1, y1, x2, y2])
