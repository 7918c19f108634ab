"""Exact greedy non-maximum suppression with static shapes."""

import chex
import jax
import jax.numpy as jnp

from mnc_jax.ops.boxes import as_float, box_iou


def nms(boxes, scores, *, iou_threshold, max_outputs, valid=None):
  """Chooses boxes by falling score, each time dropping what overlaps the chosen one.

  Every step takes the best box left and suppresses against it alone, so that the
  N x N overlaps never exist together and the result is greedy without approximation.

  Args:
    boxes: [N, 4] pixels.
    scores: [N]. NaN and -inf are never chosen.
    iou_threshold: boxes with IoU > this with a chosen one are dropped. A box that
      overlaps exactly this much stays.
    max_outputs: int, boxes chosen at most.
    valid: [N] bool; rows with False are never chosen. None: all may be.

  Returns:
    indices: [max_outputs] int32 into `boxes`, best first; of equal scores the lower
      index comes first. 0 in unused slots.
    valid: [max_outputs] bool, False in unused slots.
    A choice takes no gradient; the chosen coordinates do, by `boxes[indices]`.
  """
  chex.assert_rank([boxes, scores], [2, 1])
  chex.assert_shape(boxes, (scores.shape[0], 4))
  # The choice is piecewise constant in boxes and scores, and the loop must not be taped.
  boxes, scores = jax.lax.stop_gradient((as_float(boxes), as_float(scores)))
  usable = ~jnp.isnan(scores)
  if valid is not None:
    chex.assert_equal_shape([scores, valid])
    usable &= valid
  if scores.shape[0] == 0:
    return jnp.zeros(max_outputs, jnp.int32), jnp.zeros(max_outputs, bool)
  rows = jnp.arange(scores.shape[0], dtype=jnp.int32)

  def choose(step, state):
    left, indices, found = state
    best = jnp.argmax(left).astype(jnp.int32)
    exists = left[best] > -jnp.inf
    overlap = box_iou(boxes[best][None], boxes)[0]
    # An empty box has IoU 0 with itself and must go all the same.
    left = jnp.where((overlap > iou_threshold) | (rows == best), -jnp.inf, left)
    return left, indices.at[step].set(jnp.where(exists, best, 0)), found.at[step].set(exists)

  start = (jnp.where(usable, scores, -jnp.inf),
           jnp.zeros(max_outputs, jnp.int32), jnp.zeros(max_outputs, bool))
  _, indices, found = jax.lax.fori_loop(0, max_outputs, choose, start)
  return indices, found
