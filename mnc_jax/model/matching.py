"""Boxes matched to the instances of an image, its crowd regions, and the instances it ignores."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from mnc_jax.ops.boxes import as_float, box_areas, box_iou
from mnc_jax.structs import Array, GroundTruth

State = TypeVar("State")

# A box with more than this share of its area inside crowd regions, or an instance that is ignored,
# is ignored. Our choice: COCO's evaluation also divides a crowd's overlap by the detection's area.
_IGNORED_SHARE = 0.5
# At most so many instances are compared with all boxes at a time.
_BLOCK = 16


def fold_instances(compare: Callable[[State, Array, Array], State], start: State, instances: Array,
                   counts: Array) -> State:
  """Returns `start` after `compare(state, boxes, counts)` of each block of instances, in turn.

  Only up to the last instance that counts, so that neither time nor memory grow with padding. Not
  differentiable.

  Args:
    compare: gets [n, 4] and [n] bool, n = 16 or, if less, G.
    start: of the state.
    instances: [G, 4] boxes; G may be 0.
    counts: [G] bool, those that are no padding.
  """
  size = instances.shape[0]
  rows = min(_BLOCK, max(size, 1))
  padding = rows * max(-(-size // rows), 1) - size
  instances, padded = jnp.pad(instances, ((0, padding), (0, 0))), jnp.pad(counts, (0, padding))
  last = jnp.max(jnp.where(counts, jnp.arange(1, size + 1), 0), initial=0)

  def turn(block, state):
    take = lambda array: jax.lax.dynamic_slice_in_dim(array, block * rows, rows)
    return compare(state, take(instances), take(padded))

  return jax.lax.fori_loop(0, -(-last // rows), turn, start)


def in_crowd(boxes: Array, ground_truth: GroundTruth) -> jax.Array:
  """Returns [N] bool, whether masks of crowd regions cover more than half of each box [N, 4].

  Their masks, not their boxes: of COCO's crowd boxes a quarter is crowd. What two regions cover
  counts twice. Most images have none, so the loop takes as many turns as there are regions.
  """
  # A choice: no gradient, and none could flow back through a loop of unknown length.
  boxes = jax.lax.stop_gradient(as_float(boxes))
  # A row of numpy's masks cannot be chosen by a traced number.
  ground_truth = jax.tree.map(jnp.asarray, ground_truth)
  crowd = ground_truth.crowd & ground_truth.valid
  rows, areas = jnp.argsort(~crowd), box_areas(boxes)

  def add_region(turn, covered):
    row = rows[turn]
    return covered + _covered_area(boxes, ground_truth.masks[row], ground_truth.boxes[row])

  covered = jax.lax.fori_loop(0, crowd.sum(), add_region, jnp.zeros_like(areas))
  return covered > _IGNORED_SHARE * areas


def _covered_area(boxes, mask, region):
  """Returns [N], the pixels of a mask [M, M] in its box, `region` [4], that boxes [N, 4] cover."""
  cells, low = mask.shape[0], region[:2, None]
  # [2, M + 1] pixels of the edges of the cells, and [N, 2, M] how much of each is inside each box.
  extents = jnp.maximum(region[2:, None] - low, 0.0)
  edges = low + extents * jnp.arange(cells + 1)[None] / cells
  first = jnp.maximum(boxes[:, :2, None], edges[None, :, :-1])
  last = jnp.minimum(boxes[:, 2:, None], edges[None, :, 1:])
  lengths = jnp.maximum(last - first, 0.0)
  return jnp.einsum("ny,yx,nx->n", lengths[:, 1], (mask != 0).astype(boxes.dtype), lengths[:, 0],
                    precision=jax.lax.Precision.HIGHEST)


def match_ground_truth(
    boxes: Array, ground_truth: GroundTruth) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Matches each box [N, 4] to the instance of largest IoU; crowd regions have IoU 0.

  Returns:
    `(best_iou [N], index of that instance [N], iou [N, G])`.
  """
  countable = ground_truth.valid & ~ground_truth.crowd
  iou = box_iou(boxes, ground_truth.boxes) * countable[None]
  return iou.max(axis=1), iou.argmax(axis=1), iou


def best_overlaps(boxes: Array, competing: Array, ground_truth: GroundTruth
                  ) -> tuple[jax.Array, jax.Array]:
  """Returns the largest IoU [N] of each box, and [N] bool, which are the best for an instance.

  Args:
    boxes: [N, 4].
    competing: [N] bool, those that may be the best for an instance.
    ground_truth: of the image; crowd regions are no instances.
  """
  def compare(state, instances, counts):
    best_iou, best_for_instance = state
    iou = box_iou(boxes, instances) * counts[None]
    inside = jnp.where(competing[:, None], iou, 0.0)
    # With a tolerance: compiled, the maximum and its operand may differ in the last bit.
    best = (1 - 1e-6) * inside.max(axis=0, keepdims=True)
    best_here = jnp.any((inside > 0) & (inside >= best), axis=1)
    return jnp.maximum(best_iou, iou.max(axis=1)), best_for_instance | best_here

  start = (jnp.zeros_like(boxes[:, 0]), jnp.zeros(len(boxes), bool))
  return fold_instances(compare, start, ground_truth.boxes,
                        ground_truth.valid & ~ground_truth.crowd)


def split_by_overlap(boxes: Array, iou: Array, ground_truth: GroundTruth, *, positive_iou: float,
                     negative_iou: float) -> tuple[jax.Array, jax.Array]:
  """Returns which boxes are positive and which negative; those in between are neither.

  Positive: IoU >= `positive_iou` with an instance, and no larger one with an ignored instance.
  Negative: IoU < `negative_iou` with all of both, and not inside a crowd region or an ignored
  instance.

  Args:
    boxes: [N, 4].
    iou: [N] the largest of each, from `match_ground_truth`.
    ground_truth: of the image.
    positive_iou: threshold.
    negative_iou: threshold, not above the other.

  Returns:
    `(positive, negative)`, [N] bool.
  """
  iou = jnp.asarray(iou)
  ignored_iou, inside_ignored = _ignored_overlaps(boxes, ground_truth.ignored_boxes)
  positive = (iou >= positive_iou) & (iou >= ignored_iou)
  negative = (jnp.maximum(iou, ignored_iou) < negative_iou) & ~inside_ignored
  return positive, negative & ~in_crowd(boxes, ground_truth)


def _ignored_overlaps(boxes, ignored):
  """Returns the largest IoU [N] with ignored instances, and [N] bool, which are mostly inside one.

  `ignored` are boxes [I, 4], zeros where there are no more, or None.
  """
  # As in `in_crowd`.
  boxes = jax.lax.stop_gradient(boxes)
  nothing = jnp.zeros_like(boxes[:, 0]), jnp.zeros(len(boxes), bool)
  if ignored is None or not ignored.shape[0]:
    return nothing

  def compare(state, instances, _):
    best_iou, inside = state
    return (jnp.maximum(best_iou, box_iou(boxes, instances).max(axis=1)),
            inside | _mostly_inside(boxes, instances).any(axis=1))

  return fold_instances(compare, nothing, ignored, box_areas(ignored) > 0)


def _mostly_inside(boxes, regions):
  """Returns [N, M] bool, whether more than half of each box [N, 4] is inside each of [M, 4]."""
  # Intersection over the area of the box: IoU with a large region says little.
  low = jnp.maximum(boxes[:, None, :2], regions[None, :, :2])
  high = jnp.minimum(boxes[:, None, 2:], regions[None, :, 2:])
  shared = box_areas(jnp.concatenate([low, high], axis=-1))
  return shared > _IGNORED_SHARE * box_areas(boxes)[:, None]


def join_ground_truth(
    boxes: Array, valid: Array, ground_truth: GroundTruth) -> tuple[jax.Array, jax.Array]:
  """Appends the ground-truth boxes to RoIs.

  Args:
    boxes: [R, 4].
    valid: [R] bool.
    ground_truth: of the image.

  Returns:
    `(boxes [R + G, 4], valid [R + G])`; crowd regions and padding are zero and not valid.
  """
  joined = ground_truth.valid & ~ground_truth.crowd
  # Padding may hold NaN, which a loss would not mask.
  return (jnp.concatenate([boxes, jnp.where(joined[:, None], ground_truth.boxes, 0.0)]),
          jnp.concatenate([valid, joined]))
