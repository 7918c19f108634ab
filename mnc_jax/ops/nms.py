"""NMS with static shapes: exact greedy, in tiles of rows; and soft, one choice after another."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from mnc_jax.ops.boxes import as_floats, box_iou
from mnc_jax.ops.nms_tiles import choose_by_tiles, rank_rows, suppressed
from mnc_jax.structs import Array


class Kept(NamedTuple):
  """The boxes that greedy NMS keeps.

  Attributes:
    indices: [max_outputs] int32 as from `nms`.
    valid: [max_outputs] bool.
    truncated: [] int32, boxes beyond `max_outputs` that no chosen box suppresses. Overlaps among
      them are not considered.
  """
  indices: jax.Array
  valid: jax.Array
  truncated: jax.Array


def nms(boxes: Array, scores: Array, *, iou_threshold: float, max_outputs: int,
        valid: Array | None = None) -> tuple[jax.Array, jax.Array]:
  """Chooses boxes by falling score, each time suppressing those that overlap the chosen one.

  The rows are read best first, a tile at a time, until enough are chosen: a tile is compared
  with the chosen boxes, then with itself. The result is greedy without approximation, takes a
  few turns instead of one per chosen box, and the N x N overlaps never exist together.

  Args:
    boxes: [N, 4] pixels.
    scores: [N]. NaN and -inf are never chosen.
    iou_threshold: boxes with IoU > this with a chosen one are suppressed. A box that
      overlaps exactly this much stays.
    max_outputs: boxes chosen at most.
    valid: [N] bool; rows with False are never chosen. None: all rows are valid.

  Returns:
    indices: [max_outputs] int32 into `boxes`, best first; of equal scores the lower
      index comes first. 0 in unused slots.
    valid: [max_outputs] bool, False in unused slots.

  Degenerate input:
    An empty box overlaps nothing, itself included, and is chosen once. A box with a NaN is never
    chosen. With N = 0, or without a valid row, no slot is used.

  Gradient:
    Not differentiable; gradients flow through `boxes[indices]`.

  Example:
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> boxes = jnp.array([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0], [9.0, 9.0, 12.0, 12.0]])
    >>> scores = jnp.array([0.8, 0.9, 0.7])
    >>> indices, valid = mnc_jax.nms(boxes, scores, iou_threshold=0.5, max_outputs=3)
    >>> print(indices, valid)
    [1 2 0] [ True  True False]
  """
  ranked = rank_rows(boxes, scores, _usable(boxes, scores, valid))
  chosen = choose_by_tiles(ranked, iou_threshold=iou_threshold, max_outputs=max_outputs)
  return _chosen_rows(ranked, chosen, max_outputs)


def greedy_nms(boxes: Array, scores: Array, *, iou_threshold: float, max_outputs: int,
               valid: Array | None = None, presorted: bool = False) -> Kept:
  """Like `nms`, with the number of boxes that exceed `max_outputs`.

  Args:
    boxes: [N, 4] pixels.
    scores: [N], as for `nms`.
    iou_threshold: as for `nms`.
    max_outputs: as for `nms`.
    valid: [N] bool, as for `nms`.
    presorted: the rows already come in the order of choice, best first, as from
      `top_indices`; they are not sorted again.

  Returns:
    `Kept`. Counting the boxes beyond `max_outputs` compares all rows with the chosen ones.
  """
  ranked = rank_rows(boxes, scores, _usable(boxes, scores, valid), presorted=presorted)
  chosen = choose_by_tiles(ranked, iou_threshold=iou_threshold, max_outputs=max_outputs)
  indices, found = _chosen_rows(ranked, chosen, max_outputs)
  # Usable rows before the last chosen one are chosen or suppressed.
  used = jnp.arange(chosen.ranks.shape[0]) < chosen.num_chosen
  last = jnp.max(chosen.ranks, initial=-1, where=used)
  beyond = ranked.usable & (jnp.arange(ranked.usable.shape[0]) > last)
  beyond &= ~suppressed(ranked.boxes, chosen, iou_threshold)
  return Kept(indices, found, jnp.sum(beyond, dtype=jnp.int32))


def soft_nms(
    boxes: Array, scores: Array, *, sigma: float, max_outputs: int, valid: Array | None = None,
    min_score: float = 0.0) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Chooses boxes by falling score, each time lowering the scores of those that overlap it.

  s_i <- s_i exp(-iou(b, b_i)^2 / sigma) for every box i left, where b is the chosen one, and
  the next choice is the best of the lowered scores (Bodla et al. 2017, "Soft-NMS", the
  Gaussian penalty of section 3). A box that `nms` would suppress comes later instead, with a
  lower score.

  Args:
    boxes: [N, 4] pixels.
    scores: [N], probabilities. Boxes of zero, negative, infinite or NaN score are never chosen and
      lower no score: a product with a number below 1 would not lower theirs.
    sigma: above 0; the smaller, the more an overlap costs (Bodla et al.: .5).
    max_outputs: boxes chosen at most.
    valid: [N] bool; rows with False are never chosen. None: all rows are valid.
    min_score: boxes whose lowered score is below it are never chosen.

  Returns:
    indices: [max_outputs] int32 into `boxes`, best lowered score first; of equal ones the
      lower index comes first. 0 in unused slots.
    scores: [max_outputs] float32 or wider, lowered, falling; 0 in unused slots.
    valid: [max_outputs] bool, False in unused slots.

  Degenerate input:
    An empty box overlaps nothing, itself included, and is chosen once. A box with a NaN is never
    chosen. With N = 0, or without a valid row, no slot is used.

  Gradient:
    Not differentiable; gradients flow through `boxes[indices]`.

  Example:
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> boxes = jnp.array([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 2.0], [9.0, 9.0, 12.0, 12.0]])
    >>> scores = jnp.array([0.9, 0.8, 0.7])
    >>> indices, lowered, _ = mnc_jax.soft_nms(boxes, scores, sigma=0.5, max_outputs=3)
    >>> print(indices, [f"{score:.3f}" for score in lowered])  # .485 = .8 exp(-.5^2 / .5)
    [0 2 1] ['0.900', '0.700', '0.485']
  """
  usable = _usable(boxes, scores, valid) & jnp.isfinite(scores)
  boxes, scores = as_floats(boxes, scores)
  keep = lambda left: jnp.where((left > 0) & (left >= min_score), left, -jnp.inf)
  lower = lambda left, overlap: keep(left * jnp.exp(-overlap**2 / sigma))
  indices, chosen = _choose_in_turn(
      boxes, jnp.where(usable, keep(scores), -jnp.inf), max_outputs, lower)
  found = chosen > -jnp.inf
  return indices, jnp.where(found, chosen, 0.0), found


def _usable(boxes: Array, scores: Array, valid: Array | None) -> Array:
  """Returns [N] bool, which rows may be chosen, after checking the shapes."""
  chex.assert_rank([boxes, scores], [2, 1])
  chex.assert_shape(boxes, (scores.shape[0], 4))
  usable = ~jnp.isnan(scores) & ~jnp.isnan(boxes).any(axis=1)
  if valid is None:
    return usable
  chex.assert_equal_shape([scores, valid])
  return usable & jnp.asarray(valid).astype(bool)


def _chosen_rows(ranked, chosen, max_outputs):
  """Returns the `indices` and `valid` of `nms`."""
  slots = chosen.ranks.shape[0]
  found = jnp.arange(slots) < chosen.num_chosen
  indices = jnp.where(found, ranked.rows[chosen.ranks], 0) if slots else chosen.ranks
  unused = (0, max_outputs - slots)
  return jnp.pad(indices, unused), jnp.pad(found, unused)


def _choose_in_turn(
    boxes: Array, scores: Array, max_outputs: int, lower: Callable[[Array, Array], Array],
) -> tuple[jax.Array, jax.Array]:
  """Takes the best remaining box `max_outputs` times, each time lowering the other scores.

  Args:
    boxes: [N, 4].
    scores: [N], -inf where a row may not be chosen.
    max_outputs: number of slots.
    lower: maps scores [N] and overlaps with the chosen box [N] to the scores after it.

  Returns:
    indices: [max_outputs] int32, 0 in unused slots.
    scores: [max_outputs] that each had when it was chosen, -inf in unused slots.
  """
  # The choice is piecewise constant in boxes and scores, and the loop must not be taped.
  boxes, scores = jax.lax.stop_gradient((boxes, scores))
  start = (jnp.zeros(max_outputs, jnp.int32), jnp.full(max_outputs, -jnp.inf, scores.dtype))
  if scores.shape[0] == 0:
    return start
  rows = jnp.arange(scores.shape[0], dtype=jnp.int32)

  def choose(step, state):
    left, indices, chosen = state
    best = jnp.argmax(left).astype(jnp.int32)
    score = left[best]
    overlap = box_iou(boxes[best][None], boxes)[0]
    # An empty box has IoU 0 with itself but must not be chosen twice.
    left = jnp.where(rows == best, -jnp.inf, lower(left, overlap))
    index = jnp.where(score > -jnp.inf, best, 0)
    return left, indices.at[step].set(index), chosen.at[step].set(score)

  return jax.lax.fori_loop(0, max_outputs, choose, (scores, *start))[1:]
