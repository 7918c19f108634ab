"""Targets of stage 1 for one image. They are constants: no gradient flows into them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mnc_jax.config import TrainConfig
from mnc_jax.model.roi_targets import match_ground_truth, split_by_overlap
from mnc_jax.ops.boxes import box_iou, encode_boxes
from mnc_jax.ops.sampling import sample_mask, top_indices
from mnc_jax.structs import AnchorOutput, Array, GroundTruth, Proposals

# Instances compared with all anchors at a time.
_BLOCK = 16


class AnchorTargets(NamedTuple):
  """Targets of stage 1.

  Attributes:
    sampled: [N] bool, the anchors in the loss.
    positive: [N] bool, sampled anchors that match an object.
    box_deltas: [N, 4] from each anchor to its object; 0 where not positive.
  """
  sampled: Array
  positive: Array
  box_deltas: Array


def anchor_targets(output: AnchorOutput, ground_truth: GroundTruth, image_size: Array,
                   key: jax.Array, *, config: TrainConfig) -> AnchorTargets:
  """Labels anchors and samples those that enter the loss (Ren et al. 2015, section 3.1.2).

  Positive: best for an object, or IoU >= `anchor_positive_iou`. Negative: IoU below
  `anchor_negative_iou` with all objects. Up to half of `anchors_per_image` are positive, the
  rest negative. Anchors that cross the image's border are neither; see `split_by_overlap` for those
  on crowd regions and ignored instances.

  Args:
    output: of stage 1; only `anchors` and `valid` are read.
    ground_truth: of the image.
    image_size: [2] int32 (height, width).
    key: random key of the sampling.
    config: the thresholds.

  Returns:
    `AnchorTargets`. Without ground truth all sampled anchors are negative.
  """
  anchors, usable = output.anchors, _usable(output, image_size, config.anchor_border)
  best_iou, best_for_object = _best_overlaps(anchors, usable, ground_truth)
  positive, negative = split_by_overlap(
      anchors, best_iou, ground_truth, positive_iou=config.anchor_positive_iou,
      negative_iou=config.anchor_negative_iou)
  positive = usable & (best_for_object | positive)
  negative &= usable & ~positive
  key_positive, key_negative = jax.random.split(key)
  quota = config.anchors_per_image
  positive = sample_mask(key_positive, positive, quota // 2, limit=quota // 2)
  negative = sample_mask(key_negative, negative, quota - positive.sum(), limit=quota)
  return _make_anchor_targets(
      positive | negative, positive, anchors, ground_truth, limit=quota // 2)


def force_anchors(targets: AnchorTargets, output: AnchorOutput, rois: Proposals,
                  ground_truth: GroundTruth, image_size: Array, *,
                  config: TrainConfig) -> AnchorTargets:
  """Gives the anchors of the sampled RoIs the labels of these RoIs (release).

  The anchor of a foreground RoI becomes positive, that of a background RoI negative; the anchor
  of both is positive. They are added to the sampled anchors.

  Args:
    targets: from `anchor_targets`.
    output: of stage 1.
    rois: from `sample_rois`; ground-truth boxes among them have no anchor.
    ground_truth: of the image.
    image_size: [2] int32 (height, width).
    config: the thresholds.

  Returns:
    `AnchorTargets`. Anchors that cross the image's border stay unsampled.
  """
  # Targets are constants.
  iou, _, _ = match_ground_truth(jax.lax.stop_gradient(rois.boxes), ground_truth)
  foreground = iou >= config.roi_positive_iou
  usable, count = _usable(output, image_size, config.anchor_border), len(output.anchors)
  def anchors_of(chosen):
    # RoIs without an anchor write to an extra row: -1 would count from the end.
    rows = jnp.where(rois.valid & chosen & (rois.anchors >= 0), rois.anchors, count)
    return jnp.zeros(count + 1, bool).at[rows].set(True)[:count] & usable
  positive, negative = anchors_of(foreground), anchors_of(~foreground)
  return _make_anchor_targets(
      targets.sampled | positive | negative, targets.positive & ~negative | positive,
      output.anchors, ground_truth, limit=config.anchors_per_image // 2 + config.rois_per_image)


def _best_overlaps(anchors, usable, ground_truth):
  """Returns the largest IoU [N] of each anchor, and [N] bool, which are the best for an instance.

  Blocks of instances up to the last that counts, so that neither time nor memory grow with padding.
  """
  countable = ground_truth.valid & ~ground_truth.crowd
  padding = -countable.shape[0] % _BLOCK
  boxes = jnp.pad(ground_truth.boxes, ((0, padding), (0, 0)))
  last = jnp.max(jnp.where(countable, jnp.arange(1, countable.shape[0] + 1), 0), initial=0)
  countable = jnp.pad(countable, (0, padding))

  def compare(block, state):
    best_iou, best_for_object = state
    take = lambda rows: jax.lax.dynamic_slice_in_dim(rows, block * _BLOCK, _BLOCK)
    iou = box_iou(anchors, take(boxes)) * take(countable)[None]
    inside = jnp.where(usable[:, None], iou, 0.0)
    # With a tolerance: compiled, the maximum and its operand may differ in the last bit.
    best = (1 - 1e-6) * inside.max(axis=0, keepdims=True)
    best_here = jnp.any((inside > 0) & (inside >= best), axis=1)
    return jnp.maximum(best_iou, iou.max(axis=1)), best_for_object | best_here

  start = (jnp.zeros_like(anchors[:, 0]), jnp.zeros(len(anchors), bool))
  return jax.lax.fori_loop(0, -(-last // _BLOCK), compare, start)


def _usable(output, image_size, border):
  """Returns [N] bool, the anchors of the image's cells that do not cross its border."""
  limit = jnp.flip(image_size).astype(output.anchors.dtype) + border
  low, high = output.anchors[:, :2], output.anchors[:, 2:]
  return jnp.all((low >= -border) & (high <= limit[None]), axis=1) & output.valid


def _make_anchor_targets(sampled, positive, anchors, ground_truth, *, limit):
  """Matches the positive anchors, at most `limit`, to their instances."""
  rows, found = top_indices(jnp.where(positive, 0.0, -jnp.inf), limit)
  _, matched, _ = match_ground_truth(anchors[rows], ground_truth)
  deltas = encode_boxes(ground_truth.boxes[matched], anchors[rows])
  # Unused slots write to an extra row.
  rows = jnp.where(found, rows, len(anchors))
  targets = jnp.zeros((len(anchors) + 1, 4), deltas.dtype).at[rows].set(deltas)[:-1]
  return AnchorTargets(sampled, positive, targets)
