"""Mask voting: candidates with similar boxes average their masks (paper, section 3.4)."""

from collections.abc import Callable
import functools

import chex
import jax
import jax.numpy as jnp

from mnc_jax.ops.boxes import as_float, box_iou, clip_boxes
from mnc_jax.ops.masks import resample_masks
from mnc_jax.ops.nms import nms, soft_nms
from mnc_jax.ops.sampling import top_indices
from mnc_jax.structs import Array, Instances

# Voters read at a time. Most instances have fewer; the loop takes only as many blocks as needed.
_BLOCK = 32


def vote_masks(masks: Array, boxes: Array, class_scores: Array, *, nms_iou: float,
               similar_iou: float, max_instances: int, height: int | Array, width: int | Array,
               valid: Array | None = None, mask_threshold: float = 0.4, nms: str = "greedy",
               soft_nms_sigma: float = 0.5, min_score: float = 0.0) -> Instances:
  """Turns candidates of all categories into instances.

  Per category, NMS chooses boxes; over all categories the best `max_instances` stay. For each,
  the candidates of box IoU >= `similar_iou` vote: their masks, 0 outside their own boxes, are
  averaged in the image frame, weighted by their scores of the instance's category. The new box
  is the bounding box of the average above `mask_threshold`.

  Boxes are compared after clipping to the image. Masks are read in the boxes before clipping,
  because a mask fills its whole box and must not be squeezed into the part inside the image.

  No image-size canvas is drawn. The average is first taken on a 2M x 2M grid in the hull of
  the voting boxes, whose cells above `mask_threshold` give the new box; then again from the
  candidates, M x M in the new box.

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

  Returns:
    `Instances` with D rows, best first, of equal scores the lower category, then the
    lower candidate first; all zero where `valid` is False. `truncated_proposals` is 0.

  Degenerate input:
    Without a valid candidate, no row is valid. If the average is nowhere above the threshold,
    the box is the chosen candidate's, clipped.

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
  vote = functools.partial(
      _vote_for_one, masks, boxes, clipped, scores, similar_iou, mask_threshold)
  voted_boxes, voted_masks = jax.lax.map(vote, (chosen, labels))
  return Instances(
      boxes=jnp.where(found[:, None], voted_boxes, 0.0),
      labels=jnp.where(found, labels, 0),
      scores=jnp.where(found, chosen_scores, 0.0),
      masks=jnp.where(found[:, None, None], voted_masks, 0.0),
      valid=found,
      dropped=dropped,
      truncated_proposals=jnp.zeros_like(dropped))


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


def _vote_for_one(masks, boxes, clipped, scores, similar_iou, mask_threshold, instance):
  """Returns the box [4] and mask [M, M] that the candidates vote for one instance.

  Masks fill `boxes`; `clipped` are the same boxes clipped to the image.
  """
  chosen, label = instance
  votes = _vote_weights(clipped, scores[:, label], chosen, similar_iou)
  average = functools.partial(_average_masks, masks, boxes, votes)
  hull = _hull(clipped, votes > 0)
  size = masks.shape[1]
  above = average(hull, 2 * size) > mask_threshold
  box = jnp.where(above.any(), _bounds(above, hull), clipped[chosen])
  return box, average(box, size)


def _vote_weights(boxes, scores, chosen, similar_iou):
  """Returns the weight of each candidate, [R], summing to 1 over the voters, else 0."""
  similar = box_iou(boxes[chosen][None], boxes)[0] >= similar_iou
  # A box votes for itself even if it is empty.
  similar |= jnp.arange(boxes.shape[0]) == chosen
  weights = jnp.where(similar, scores, 0.0)
  total = weights.sum()
  return weights / jnp.where(total > 0, total, 1.0)


def _average_masks(masks, boxes, votes, frame, size):
  """Returns the weighted average of the masks in the box `frame`, [size, size]."""
  padding = -masks.shape[0] % _BLOCK
  weights, order = jax.lax.top_k(votes, votes.shape[0])
  weights, order = jnp.pad(weights, (0, padding)), jnp.pad(order, (0, padding))
  blocks = -(-jnp.sum(votes > 0) // _BLOCK)

  def add_block(block, total):
    rows = jax.lax.dynamic_slice_in_dim(order, block * _BLOCK, _BLOCK)
    share = jax.lax.dynamic_slice_in_dim(weights, block * _BLOCK, _BLOCK)
    read = resample_masks(
        masks[rows], boxes[rows], jnp.broadcast_to(frame, (_BLOCK, 4)), size)
    # Rows without a vote are replaced, not multiplied by 0: padding may hold NaN.
    share = share[:, None, None]
    return total + jnp.sum(jnp.where(share > 0, share * read, 0.0), axis=0)

  return jax.lax.fori_loop(0, blocks, add_block, jnp.zeros((size, size), masks.dtype))


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
