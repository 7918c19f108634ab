"""Targets of stage 1 for one image. They are constants: no gradient flows into them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mnc_jax.config import TrainConfig
from mnc_jax.model.matching import best_overlaps, match_ground_truth, split_by_overlap
from mnc_jax.ops.boxes import encode_boxes
from mnc_jax.ops.sampling import sample_mask, top_indices
from mnc_jax.structs import AnchorOutput, Array, GroundTruth, Proposals


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
  ground_truth = jax.tree.map(jnp.asarray, ground_truth)
  anchors, usable = output.anchors, _usable(output, image_size, config.anchor_border)
  best_iou, best_for_object = best_overlaps(anchors, usable, ground_truth)
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
  of both is positive. They are added to the sampled anchors. A positive anchor that overlaps no
  object is regressed to that of its RoI.

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
  ground_truth = jax.tree.map(jnp.asarray, ground_truth)
  # Targets are constants.
  iou, matched, _ = match_ground_truth(jax.lax.stop_gradient(rois.boxes), ground_truth)
  foreground = iou >= config.roi_positive_iou
  usable, count = _usable(output, image_size, config.anchor_border), len(output.anchors)
  def at_anchors(values, chosen):
    # RoIs without an anchor write to an extra row: -1 would count from the end.
    rows = jnp.where(rois.valid & chosen & (rois.anchors >= 0), rois.anchors, count)
    return jnp.zeros(count + 1, values.dtype).at[rows].set(values)[:count]
  positive, negative = (at_anchors(jnp.ones_like(chosen), chosen) & usable
                        for chosen in (foreground, ~foreground))
  return _make_anchor_targets(
      targets.sampled | positive | negative, targets.positive & ~negative | positive,
      output.anchors, ground_truth, limit=config.anchors_per_image // 2 + config.rois_per_image,
      otherwise=at_anchors(matched, foreground))


def _usable(output, image_size, border):
  """Returns [N] bool, the anchors of the image's cells that do not cross its border."""
  far_corner = jnp.flip(image_size).astype(output.anchors.dtype) + border
  low, high = output.anchors[:, :2], output.anchors[:, 2:]
  return jnp.all((low >= -border) & (high <= far_corner[None]), axis=1) & output.valid


def _make_anchor_targets(sampled, positive, anchors, ground_truth, *, limit, otherwise=None):
  """Matches the positive anchors, at most `limit`, to their instances.

  `otherwise` are the instances [N] of those that overlap none.
  """
  rows, found = top_indices(jnp.where(positive, 0.0, -jnp.inf), limit)
  iou, matched, _ = match_ground_truth(anchors[rows], ground_truth)
  if otherwise is not None:
    matched = jnp.where(iou > 0, matched, otherwise[rows])
  deltas = encode_boxes(ground_truth.boxes[matched], anchors[rows])
  # Unused slots write to an extra row.
  rows = jnp.where(found, rows, len(anchors))
  targets = jnp.zeros((len(anchors) + 1, 4), deltas.dtype).at[rows].set(deltas)[:-1]
  return AnchorTargets(sampled, positive, targets)
