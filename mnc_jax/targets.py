"""From ground truth to the targets of each stage, for one image.

Targets are constants: no gradient flows into them. A target that moved with the
prediction could lower the loss by worse boxes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mnc_jax.config import Config, TrainConfig
from mnc_jax.ops.boxes import box_areas, box_iou, encode_boxes
from mnc_jax.ops.masks import mask_iou_in_box, resample_masks
from mnc_jax.ops.sampling import sample_mask, top_indices
from mnc_jax.structs import AnchorOutput, Array, Batch, Proposals

# A box with more than this share of its area inside a crowd region is ignored. Our choice:
# COCO's evaluation, too, measures a crowd's overlap against the detection's own area.
_CROWD_OVERLAP = 0.5


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


class RoiTargets(NamedTuple):
  """Targets of stages 2 and 3 (or 4 and 5).

  Attributes:
    valid: [R] bool, the RoIs in the losses.
    foreground: [R] bool, box IoU with an object at or above the threshold.
    labels: [R] int32 category of that object; 0 for background.
    masks: [R, M, M] float32 0 or 1 (or between, see `binarize_mask_targets`), the object
      inside the RoI; 0 for background.
    areas: [R] float32 pixels of the whole object.
    box_deltas: [R, 4] from the RoI to the object, in units of `box_delta_stds`.
  """
  valid: Array
  foreground: Array
  labels: Array
  masks: Array
  areas: Array
  box_deltas: Array


def _in_crowd(boxes, truth: Batch):
  # Intersection over the box's own area: IoU says little against a region.
  low = jnp.maximum(boxes[:, None, :2], truth.boxes[None, :, :2])
  high = jnp.minimum(boxes[:, None, 2:], truth.boxes[None, :, 2:])
  shared = box_areas(jnp.concatenate([low, high], axis=-1))
  own = box_areas(boxes)[:, None]
  crowd = (truth.crowd & truth.valid)[None]
  return jnp.any((shared > _CROWD_OVERLAP * own) & crowd, axis=1)


def _match(boxes, truth: Batch):
  """Best IoU [N] of each box with a countable instance, that instance [N], and all IoUs."""
  countable = truth.valid & ~truth.crowd
  iou = box_iou(boxes, truth.boxes) * countable[None]
  return iou.max(axis=1), iou.argmax(axis=1), iou


def anchor_targets(output: AnchorOutput, truth: Batch, image_size, key, *,
                   config: TrainConfig) -> AnchorTargets:
  """Labels anchors and samples those that enter the loss (Ren et al. 2015, section 3.1.2).

  Positive: best for an object, or IoU >= `anchor_positive_iou`. Negative: below
  `anchor_negative_iou` with all. Up to half of `anchors_per_image` are positive, the
  rest negative. Anchors that cross the image's border or lie in a crowd are left out.

  Args:
    output: of stage 1; only `anchors` and `valid` are read.
    truth: one image of a `Batch`.
    image_size: [2] int32 (height, width).
    key: of the sampling.
    config: the thresholds.

  Returns:
    `AnchorTargets`. Without ground truth all sampled anchors are negative.
  """
  anchors, usable = output.anchors, _usable(output, image_size, config.anchor_border)
  best_iou, matched, iou = _match(anchors, truth)
  iou = jnp.where(usable[:, None], iou, 0.0)
  # Nearly the best counts: compiled, the maximum and what it is of may differ in the last bit.
  best = (1 - 1e-6) * iou.max(axis=0, keepdims=True)
  best_for_object = jnp.any((iou > 0) & (iou >= best), axis=1)
  positive = usable & (best_for_object | (best_iou >= config.anchor_positive_iou))
  negative = (usable & ~positive & (best_iou < config.anchor_negative_iou)
              & ~_in_crowd(anchors, truth))
  key_positive, key_negative = jax.random.split(key)
  positive = sample_mask(key_positive, positive, config.anchors_per_image // 2)
  negative = sample_mask(key_negative, negative, config.anchors_per_image - positive.sum())
  return _make_anchor_targets(positive | negative, positive, anchors, truth.boxes[matched])


def force_anchors(goal: AnchorTargets, output: AnchorOutput, rois: Proposals, truth: Batch,
                  image_size, *, config: TrainConfig) -> AnchorTargets:
  """Lets the anchors that the sampled RoIs came from be what these are (release).

  The anchor of a foreground RoI becomes positive, that of another negative; where both came
  from one, it is positive. They come on top of the anchors that were sampled.

  Args:
    goal: from `anchor_targets`.
    output: of stage 1.
    rois: from `sample_rois`; the ground truth among them has no anchor.
    truth: one image of a `Batch`.
    image_size: [2] int32 (height, width).
    config: the thresholds.

  Returns:
    `AnchorTargets`. Anchors that cross the image's border stay out.
  """
  iou, _, _ = _match(jax.lax.stop_gradient(rois.boxes), truth)  # Targets are constants.
  foreground = iou >= config.roi_positive_iou
  usable, count = _usable(output, image_size, config.anchor_border), len(output.anchors)
  def anchors_of(chosen):
    # One row more takes what has no anchor: -1 would count from the end.
    rows = jnp.where(rois.valid & chosen & (rois.anchors >= 0), rois.anchors, count)
    return jnp.zeros(count + 1, bool).at[rows].set(True)[:count] & usable
  forced, denied = anchors_of(foreground), anchors_of(~foreground)
  _, matched, _ = _match(output.anchors, truth)
  return _make_anchor_targets(goal.sampled | forced | denied, goal.positive & ~denied | forced,
                              output.anchors, truth.boxes[matched])


def _usable(output, image_size, border):
  """Returns [N] bool, the anchors of the image's own cells that do not cross its border."""
  limit = jnp.flip(image_size).astype(output.anchors.dtype) + border
  low, high = output.anchors[:, :2], output.anchors[:, 2:]
  return jnp.all((low >= -border) & (high <= limit[None]), axis=1) & output.valid


def _make_anchor_targets(sampled, positive, anchors, matched_boxes):
  deltas = encode_boxes(matched_boxes, anchors)
  return AnchorTargets(sampled, positive, jnp.where(positive[:, None], deltas, 0.0))


def join_truth(boxes, valid, truth: Batch):
  """Returns `(boxes [R + G, 4], valid [R + G])`: RoIs, then the ground-truth boxes.

  Crowd regions and padding are not valid.

  Args:
    boxes: [R, 4].
    valid: [R] bool.
    truth: one image of a `Batch`.
  """
  return (jnp.concatenate([boxes, truth.boxes]),
          jnp.concatenate([valid, truth.valid & ~truth.crowd]))


def sample_rois(proposals: Proposals, truth: Batch, key, *, config: TrainConfig) -> Proposals:
  """Chooses the RoIs that stages 2 and 3 train on (release's proposal targets).

  The ground-truth boxes join the candidates. At most `roi_positive_fraction` of
  `rois_per_image` overlap an object by `roi_positive_iou`; of the others a share of
  `roi_hard_negative_fraction` overlaps one by `roi_hard_negative_iou`, the rest less.
  Where one kind is short, the others fill up.

  Args:
    proposals: of stage 1.
    truth: one image of a `Batch`.
    key: of the sampling.
    config: the quotas.

  Returns:
    `Proposals` with R = `rois_per_image`, scores 0 for ground-truth boxes. The gradient
    flows on into the coordinates of the chosen proposals.
  """
  boxes, candidate = join_truth(proposals.boxes, proposals.valid, truth)
  scores = jnp.concatenate([proposals.scores, jnp.zeros_like(truth.boxes[:, 0])])
  anchors = jnp.concatenate([proposals.anchors, jnp.full_like(truth.labels, -1)])
  iou, _, _ = _match(boxes, truth)
  foreground = candidate & (iou >= config.roi_positive_iou)
  background = candidate & ~foreground & ~_in_crowd(boxes, truth)
  hard = background & (iou >= config.roi_hard_negative_iou)
  keys = jax.random.split(key, 4)
  size = config.rois_per_image
  chosen_foreground = sample_mask(keys[0], foreground, int(size * config.roi_positive_fraction))
  negatives = size - chosen_foreground.sum()
  hard_quota = jnp.round(negatives * config.roi_hard_negative_fraction).astype(jnp.int32)
  chosen_hard = sample_mask(keys[1], hard, hard_quota)
  chosen_easy = sample_mask(keys[2], background & ~hard, negatives - chosen_hard.sum())
  # First come those within their quota, then negatives, then positives that fill up.
  rank = (4.0 * (chosen_foreground | chosen_hard | chosen_easy) + 2.0 * background
          + jax.random.uniform(keys[3], iou.shape))
  indices, valid = top_indices(
      jnp.where(foreground | background, rank, -jnp.inf), size)
  return Proposals(
      boxes=jnp.where(valid[:, None], boxes[indices], 0.0),
      scores=jnp.where(valid, scores[indices], 0.0),
      valid=valid,
      anchors=jnp.where(valid, anchors[indices], -1))


def roi_targets(boxes, valid, truth: Batch, *, config: Config) -> RoiTargets:
  """Finds the object of each RoI: the one of largest box IoU (paper, section 3.2).

  Args:
    boxes: [R, 4] RoIs.
    valid: [R] bool.
    truth: one image of a `Batch`.
    config: model and thresholds.

  Returns:
    `RoiTargets`. RoIs that lie in a crowd and on no object are not valid in it.
  """
  # Constants, see the top of the file: a mask target seen through the box would move with it.
  boxes = jax.lax.stop_gradient(boxes)
  iou, matched, _ = _match(boxes, truth)
  foreground = valid & (iou >= config.train.roi_positive_iou)
  size = config.model.mask_size
  masks = resample_masks(
      truth.masks[matched].astype(boxes.dtype), truth.boxes[matched], boxes, size)
  if config.train.binarize_mask_targets:
    masks = masks >= config.train.mask_threshold
  masks = jnp.where(foreground[:, None, None], masks, 0)
  deltas = encode_boxes(truth.boxes[matched], boxes, stds=config.model.box_delta_stds)
  return RoiTargets(
      valid=valid & (foreground | ~_in_crowd(boxes, truth)),
      foreground=foreground,
      labels=jnp.where(foreground, truth.labels[matched], 0),
      masks=masks.astype(boxes.dtype),
      areas=truth.areas[matched],
      box_deltas=jnp.where(foreground[:, None], deltas, 0.0))


def mask_level_labels(targets: RoiTargets, mask_logits, boxes, *, config: TrainConfig):
  """Labels RoIs whose predicted mask also overlaps the object's; the rest are background.

  Args:
    targets: of the RoIs.
    mask_logits: [R, M, M] of stage 2.
    boxes: [R, 4] RoIs.
    config: the thresholds.

  Returns:
    [R] int32 (paper, section 3.3).
  """
  predicted = jax.nn.sigmoid(mask_logits) >= config.mask_threshold
  iou = mask_iou_in_box(predicted, targets.masks, boxes, targets.areas)
  return jnp.where(iou >= config.mask_label_iou, targets.labels, 0)
