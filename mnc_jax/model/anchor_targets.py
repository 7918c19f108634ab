"""From ground truth to the targets of stage 1, for one image. Targets are constants."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mnc_jax.config import TrainConfig
from mnc_jax.model.roi_targets import in_crowd, match_ground_truth
from mnc_jax.ops.boxes import encode_boxes
from mnc_jax.ops.sampling import sample_mask
from mnc_jax.structs import AnchorOutput, Array, Batch, Proposals


class AnchorTargets(NamedTuple):
  """Targets of stage 1.

  Attributes:
    sampled: [N] bool, the anchors in the loss.
    positive: [N] bool, those of them that are an object.
    box_deltas: [N, 4] from each anchor to its object; 0 where not positive.
  """
  sampled: Array
  positive: Array
  box_deltas: Array


def anchor_targets(output: AnchorOutput, ground_truth: Batch, image_size, key, *,
                   config: TrainConfig) -> AnchorTargets:
  """Labels anchors and samples those that enter the loss (Ren et al. 2015, section 3.1.2).

  Positive: best for an object, or IoU >= `anchor_positive_iou`. Negative: below
  `anchor_negative_iou` with all. Up to half of `anchors_per_image` are positive, the
  rest negative. Anchors that cross the image's border or lie in a crowd are left out.

  Args:
    output: of stage 1; only `anchors` and `valid` are read.
    ground_truth: one image of a `Batch`.
    image_size: [2] int32 (height, width).
    key: of the sampling.
    config: the thresholds.

  Returns:
    `AnchorTargets`. Without ground truth all sampled anchors are negative.
  """
  anchors, usable = output.anchors, _usable(output, image_size, config.anchor_border)
  best_iou, matched, iou = match_ground_truth(anchors, ground_truth)
  iou = jnp.where(usable[:, None], iou, 0.0)
  # Nearly the best counts: compiled, the maximum and what it is of may differ in the last bit.
  best = (1 - 1e-6) * iou.max(axis=0, keepdims=True)
  best_for_object = jnp.any((iou > 0) & (iou >= best), axis=1)
  positive = usable & (best_for_object | (best_iou >= config.anchor_positive_iou))
  negative = (usable & ~positive & (best_iou < config.anchor_negative_iou)
              & ~in_crowd(anchors, ground_truth))
  key_positive, key_negative = jax.random.split(key)
  positive = sample_mask(key_positive, positive, config.anchors_per_image // 2)
  negative = sample_mask(key_negative, negative, config.anchors_per_image - positive.sum())
  return _make_anchor_targets(positive | negative, positive, anchors, ground_truth.boxes[matched])


def force_anchors(goal: AnchorTargets, output: AnchorOutput, rois: Proposals, ground_truth: Batch,
                  image_size, *, config: TrainConfig) -> AnchorTargets:
  """Lets the anchors that the sampled RoIs came from be what these are (release).

  The anchor of a foreground RoI becomes positive, that of another negative; where both came
  from one, it is positive. They come on top of the anchors that were sampled.

  Args:
    goal: from `anchor_targets`.
    output: of stage 1.
    rois: from `sample_rois`; the ground truth among them has no anchor.
    ground_truth: one image of a `Batch`.
    image_size: [2] int32 (height, width).
    config: the thresholds.

  Returns:
    `AnchorTargets`. Anchors that cross the image's border stay out.
  """
  # Targets are constants.
  iou, _, _ = match_ground_truth(jax.lax.stop_gradient(rois.boxes), ground_truth)
  foreground = iou >= config.roi_positive_iou
  usable, count = _usable(output, image_size, config.anchor_border), len(output.anchors)
  def anchors_of(chosen):
    # One row more takes what has no anchor: -1 would count from the end.
    rows = jnp.where(rois.valid & chosen & (rois.anchors >= 0), rois.anchors, count)
    return jnp.zeros(count + 1, bool).at[rows].set(True)[:count] & usable
  forced, denied = anchors_of(foreground), anchors_of(~foreground)
  _, matched, _ = match_ground_truth(output.anchors, ground_truth)
  return _make_anchor_targets(goal.sampled | forced | denied, goal.positive & ~denied | forced,
                              output.anchors, ground_truth.boxes[matched])


def _usable(output, image_size, border):
  """Returns [N] bool, the anchors of the image's own cells that do not cross its border."""
  limit = jnp.flip(image_size).astype(output.anchors.dtype) + border
  low, high = output.anchors[:, :2], output.anchors[:, 2:]
  return jnp.all((low >= -border) & (high <= limit[None]), axis=1) & output.valid


def _make_anchor_targets(sampled, positive, anchors, matched_boxes):
  deltas = encode_boxes(matched_boxes, anchors)
  return AnchorTargets(sampled, positive, jnp.where(positive[:, None], deltas, 0.0))
