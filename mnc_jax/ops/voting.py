"""Mask voting: candidates that agree on a box average their masks (paper, section 3.4)."""

import functools

import chex
import jax
import jax.numpy as jnp

from mnc_jax.ops.boxes import as_float, box_iou, clip_boxes
from mnc_jax.ops.masks import resample_masks
from mnc_jax.ops.nms import nms, soft_nms
from mnc_jax.ops.sampling import top_indices
from mnc_jax.structs import Instances

# Voters read at a time. Most instances have fewer; the loop is as long as it must be.
_BLOCK = 32


def vote_masks(masks, boxes, class_scores, *, nms_iou, similar_iou, max_instances, height, width,
               valid=None, mask_threshold=0.4, nms="greedy", soft_nms_sigma=0.5,
               min_score=0.0):
  """Turns candidates of all categories into instances.

  Per category, NMS chooses boxes; over all categories the best `max_instances`
  stay. For each, the candidates of box IoU >= `similar_iou` vote: their
  masks, 0 outside their own boxes, are averaged in the image frame, weighted by their
  scores of the instance's category. The box then shrinks or grows to the average's bounds.

  Boxes are compared as they are cut at the image. A mask fills its whole box, so it is
  read there: what lies outside the image is lost, what lies inside is not squeezed.

  No image-size canvas is drawn. The average is first taken on a 2M x 2M grid in the hull of
  the voting boxes, where values above `mask_threshold` give the bounds in whole cells; then
  straight from the candidates once more, M x M in the new box.

  Args:
    masks: [R, M, M] probabilities inside each box.
    boxes: [R, 4] pixels, may reach outside the image.
    class_scores: [R, C], background first. 0, negative and NaN are never chosen and
      never vote.
    nms_iou: boxes of one category with a higher IoU with a better one go; soft
      NMS has no use for it.
    similar_iou: candidates at or above this IoU vote.
    max_instances: int, D.
    height: pixels of the image, may be traced; boxes of instances end there.
    width: likewise.
    valid: [R] bool, False in padding. None: all count.
    mask_threshold: the average above it belongs to the instance.
    nms: "greedy" (`ops.nms.nms`), or "soft" (`soft_nms`): boxes that overlap a better one
      stay, and their instances have the lowered scores. Votes have the candidates' own.
    soft_nms_sigma: of soft-NMS.
    min_score: instances below it are not given; their candidates vote all the same.

  Returns:
    `Instances` with D rows, best first, of equal scores the lower category, then the
    lower candidate first; all zero where `valid` is False.

  Degenerate input:
    Without a candidate that counts, no row is valid. Where the average exceeds the threshold
    nowhere, the box is the chosen candidate's, cut.

  Gradient:
    None flows: instances are chosen.

  Raises:
    ValueError: for another `nms`.

  Example:
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> masks = jnp.stack([jnp.full((2, 2), 0.5), jnp.ones((2, 2))])
    >>> boxes = jnp.array([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 4.0]])
    >>> class_scores = jnp.array([[0.25, 0.75], [0.75, 0.25]])
    >>> found = mnc_jax.vote_masks(masks, boxes, class_scores, nms_iou=0.3, similar_iou=0.5,
    ...                            max_instances=2, height=8, width=8)
    >>> print(found.labels, found.scores, found.valid)
    [1 0] [0.75 0.  ] [ True False]
    >>> print(found.masks[0])  # .75 of the first mask and .25 of the second.
    [[0.625 0.625]
     [0.625 0.625]]
  """
  return vote_and_count(
      masks, boxes, class_scores, nms_iou=nms_iou, similar_iou=similar_iou,
      max_instances=max_instances, height=height, width=width, valid=valid,
      mask_threshold=mask_threshold, nms=nms, soft_nms_sigma=soft_nms_sigma,
      min_score=min_score)[0]


def vote_and_count(masks, boxes, class_scores, *, nms_iou, similar_iou, max_instances, height,
                   width, valid, mask_threshold, nms, soft_nms_sigma, min_score):
  """Turns candidates into instances as `vote_masks` does, and counts those without a place.

  Arguments are those of `vote_masks`.

  Returns:
    `(instances, dropped)`: its result, and [] int32, instances of at least `min_score` that
    were not among the best `max_instances`. Of one category no more are counted than that.
  """
  chex.assert_rank([masks, boxes, class_scores], [3, 2, 2])
  chex.assert_shape(boxes, (masks.shape[0], 4))
  chex.assert_axis_dimension(class_scores, 0, masks.shape[0])
  # Inference only: instances are chosen, which has no gradient.
  masks, boxes, scores = jax.lax.stop_gradient(
      tuple(as_float(x) for x in (masks, boxes, class_scores)))
  usable = (scores > 0) & jnp.isfinite(scores)
  if valid is not None:
    usable &= valid[:, None]
  scores = jnp.where(usable, scores, 0.0)
  cut = clip_boxes(boxes, height, width)
  suppress = _nms(nms, nms_iou, soft_nms_sigma)
  chosen, labels, chosen_scores, found, dropped = _choose_instances(
      cut, scores, suppress, max_instances, min_score)
  vote = functools.partial(_vote_for_one, masks, boxes, cut, scores, similar_iou, mask_threshold)
  voted_boxes, voted_masks = jax.lax.map(vote, (chosen, labels))
  return Instances(
      boxes=jnp.where(found[:, None], voted_boxes, 0.0),
      labels=jnp.where(found, labels, 0),
      scores=jnp.where(found, chosen_scores, 0.0),
      masks=jnp.where(found[:, None, None], voted_masks, 0.0),
      valid=found), dropped


def _nms(kind, nms_iou, sigma):
  """Returns a function that chooses among boxes [R, 4] with scores [R], as `soft_nms` does."""
  if kind == "soft":
    return functools.partial(soft_nms, sigma=sigma)
  if kind != "greedy":
    raise ValueError(f'nms is {kind!r}: it must be "greedy" or "soft"')

  def greedy(boxes, scores, **options):
    indices, kept = nms(boxes, scores, iou_threshold=nms_iou, **options)
    return indices, scores[indices], kept

  return greedy


def _choose_instances(boxes, scores, suppress, max_instances, min_score):
  """Returns candidate, label, score, whether there is one, [D] each, and how many are left out."""
  suppress_category = lambda column: suppress(
      boxes, column, max_outputs=max_instances, valid=column > 0)
  indices, kept_scores, kept = jax.vmap(suppress_category, in_axes=1)(scores[:, 1:])
  kept_scores = kept_scores.reshape(-1)
  kept = kept.reshape(-1) & (kept_scores >= min_score)
  slots, found = top_indices(jnp.where(kept, kept_scores, -jnp.inf), max_instances)
  return (indices.reshape(-1)[slots], slots // max_instances + 1, kept_scores[slots], found,
          kept.sum(dtype=jnp.int32) - found.sum(dtype=jnp.int32))


def _vote_for_one(masks, boxes, cut, scores, similar_iou, mask_threshold, instance):
  """Returns the box [4] and mask [M, M] that the candidates vote for one instance.

  Masks fill `boxes`; `cut` are the same boxes cut at the image.
  """
  chosen, label = instance
  votes = _vote_weights(cut, scores[:, label], chosen, similar_iou)
  average = functools.partial(_average_masks, masks, boxes, votes)
  hull = _hull(cut, votes > 0)
  size = masks.shape[1]
  above = average(hull, 2 * size) > mask_threshold
  box = jnp.where(above.any(), _bounds(above, hull), cut[chosen])
  return box, average(box, size)


def _vote_weights(boxes, scores, chosen, similar_iou):
  """Returns the weight of each candidate [R], summing to 1, 0 for all but the voters."""
  similar = box_iou(boxes[chosen][None], boxes)[0] >= similar_iou
  # A box votes for itself even if it is empty.
  similar |= jnp.arange(boxes.shape[0]) == chosen
  weights = jnp.where(similar, scores, 0.0)
  total = weights.sum()
  return weights / jnp.where(total > 0, total, 1.0)


def _average_masks(masks, boxes, votes, frame, size):
  """Returns the weighted average of the masks, read in one box `frame`, [size, size]."""
  padding = -masks.shape[0] % _BLOCK
  weights, order = jax.lax.top_k(votes, votes.shape[0])
  weights, order = jnp.pad(weights, (0, padding)), jnp.pad(order, (0, padding))
  blocks = -(-jnp.sum(votes > 0) // _BLOCK)

  def add_block(block, total):
    rows = jax.lax.dynamic_slice_in_dim(order, block * _BLOCK, _BLOCK)
    share = jax.lax.dynamic_slice_in_dim(weights, block * _BLOCK, _BLOCK)
    read = resample_masks(
        masks[rows], boxes[rows], jnp.broadcast_to(frame, (_BLOCK, 4)), size)
    # Rows without a vote are dropped, not multiplied by 0: padding may hold NaN.
    share = share[:, None, None]
    return total + jnp.sum(jnp.where(share > 0, share * read, 0.0), axis=0)

  return jax.lax.fori_loop(0, blocks, add_block, jnp.zeros((size, size), masks.dtype))


def _hull(boxes, chosen):
  """Returns the smallest box [4] around the chosen boxes; zeros if there is none."""
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
