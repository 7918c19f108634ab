"""Voting: candidates with similar boxes average their masks and boxes (paper, section 3.4)."""

from collections.abc import Callable
import functools

import chex
import jax
import jax.numpy as jnp

from mnc_jax.ops.boxes import as_float, as_floats, box_areas, box_iou, clip_boxes
from mnc_jax.ops.mask_average import average_clipped
from mnc_jax.ops.nms import nms, soft_nms
from mnc_jax.ops.sampling import top_indices
from mnc_jax.structs import Array, Instances


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
    Candidates without area inside the image, or with a NaN, are never chosen and never vote. With
    R = 0, or without a valid candidate, no row is valid. If the average mask is nowhere above
    the threshold, its bounds are the chosen candidate's box, clipped. An average box without area
    is replaced by the bounds of the mask.

  Gradient:
    Not differentiable.

  Raises:
    ValueError: for another `nms`, or if `class_scores` has no category.

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
  if class_scores.shape[1] < 2:
    raise ValueError("class_scores has 1 column: it needs background and a category at least")
  if not masks.shape[0]:
    # A choice needs a row to read: one without a score is never chosen.
    masks, boxes, class_scores, valid, refined_boxes = jax.tree.map(
        lambda x: jnp.zeros((1, *x.shape[1:]), x.dtype),
        (masks, boxes, class_scores, valid, refined_boxes))
  # Inference only: choosing instances has no gradient.
  masks, boxes, scores = jax.lax.stop_gradient(as_floats(masks, boxes, class_scores))
  clipped = clip_boxes(boxes, height, width)
  scores = _keep_usable(scores, clipped, valid)
  choose = _nms_function(nms, nms_iou, soft_nms_sigma)
  chosen, labels, chosen_scores, found, dropped = _choose_instances(
      clipped, scores, choose, max_instances, min_score)
  votes = jax.vmap(functools.partial(_vote_weights, clipped, similar_iou=similar_iou))(
      scores.T[labels], chosen)
  votes = jnp.where(found[:, None], votes, 0.0)
  mask_boxes, voted_masks = average_clipped(
      masks, boxes, clipped, votes, chosen, mask_threshold)
  voted_boxes = mask_boxes
  if refined_boxes is not None:
    chex.assert_shape(refined_boxes, (*scores.shape, 4))
    refined_boxes = jax.lax.stop_gradient(as_float(refined_boxes))
    voted_boxes = clip_boxes(_average_boxes(refined_boxes, votes, labels), height, width)
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


def _keep_usable(scores, clipped, valid):
  """Returns `scores` [R, C], 0 where they are not finite, or the box [R, 4] is padding or empty."""
  usable = (scores > 0) & jnp.isfinite(scores)
  if valid is not None:
    usable &= jnp.asarray(valid).astype(bool)[:, None]
  usable &= box_areas(clipped)[:, None] > 0
  return jnp.where(usable, scores, 0.0)


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
  # One more than fits, or with one category none would ever be dropped.
  most = max_instances + 1
  choose_in_category = lambda column: choose(boxes, column, max_outputs=most, valid=column > 0)
  indices, kept_scores, kept = jax.vmap(choose_in_category, in_axes=1)(scores[:, 1:])
  kept_scores = kept_scores.reshape(-1)
  kept = kept.reshape(-1) & (kept_scores >= min_score)
  slots, found = top_indices(jnp.where(kept, kept_scores, -jnp.inf), max_instances)
  return (indices.reshape(-1)[slots], slots // most + 1, kept_scores[slots], found,
          kept.sum(dtype=jnp.int32) - found.sum(dtype=jnp.int32))


def _average_boxes(boxes, votes, labels):
  """Returns the averages [D, 4] of boxes [R, C, 4] of the categories [D], by `votes` [D, R]."""
  of_category = boxes.swapaxes(0, 1)[labels]
  shares = votes[..., None]
  # Boxes without a vote are replaced, not multiplied by 0: padding may hold NaN. No matrix product:
  # on accelerators it would round coordinates.
  return jnp.sum(jnp.where(shares > 0, shares * of_category, 0.0), axis=1)


def _vote_weights(boxes, scores, chosen, *, similar_iou):
  """Returns the weight of each candidate, [R], summing to 1 over the voters, else 0."""
  similar = box_iou(boxes[chosen][None], boxes)[0] >= similar_iou
  # A box votes for itself even if it is empty.
  similar |= jnp.arange(boxes.shape[0]) == chosen
  weights = jnp.where(similar, scores, 0.0)
  total = weights.sum()
  return weights / jnp.where(total > 0, total, 1.0)
