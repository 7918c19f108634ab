"""RoIs and targets of stages 2 to 5 for one image.

Targets are constants: no gradient flows into them. A target that moved with the
prediction could lower the loss by worse boxes.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mnc_jax.config import Config, TrainConfig
from mnc_jax.model.matching import join_ground_truth, match_ground_truth, split_by_overlap
from mnc_jax.ops.boxes import encode_boxes
from mnc_jax.ops.masks import mask_iou_in_box, read_binary_masks
from mnc_jax.ops.sampling import sample_mask, top_indices
from mnc_jax.structs import Array, GroundTruth, Proposals


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


def sample_rois(proposals: Proposals, ground_truth: GroundTruth, key: jax.Array, *,
                config: TrainConfig) -> Proposals:
  """Chooses the RoIs that stages 2 and 3 train on (release's proposal targets).

  The ground-truth boxes join the candidates. At most `roi_positive_fraction` of
  `rois_per_image` are foreground, with IoU >= `roi_positive_iou`; of the others, a fraction of
  `roi_hard_negative_fraction` has IoU >= `roi_hard_negative_iou`, the rest less. If there are too
  few of one kind, the others fill its slots.

  Args:
    proposals: of stage 1.
    ground_truth: of the image.
    key: random key of the sampling.
    config: the quotas.

  Returns:
    `Proposals` with R = `rois_per_image`, scores 0 for ground-truth boxes. Gradients flow into
    the coordinates of the chosen proposals.
  """
  ground_truth = jax.tree.map(jnp.asarray, ground_truth)
  boxes, candidate = join_ground_truth(proposals.boxes, proposals.valid, ground_truth)
  scores = jnp.concatenate([proposals.scores, jnp.zeros_like(ground_truth.boxes[:, 0])])
  anchors = jnp.concatenate([proposals.anchors, jnp.full(ground_truth.labels.shape, -1, jnp.int32)])
  iou, _, _ = match_ground_truth(boxes, ground_truth)
  foreground, background = (candidate & chosen for chosen in split_by_overlap(
      boxes, iou, ground_truth, positive_iou=config.roi_positive_iou,
      negative_iou=config.roi_positive_iou))
  rank = _rank_by_quota(key, foreground, background, iou, config)
  indices, valid = top_indices(
      jnp.where(foreground | background, rank, -jnp.inf), config.rois_per_image)
  return Proposals(
      boxes=jnp.where(valid[:, None], boxes[indices], 0.0),
      scores=jnp.where(valid, scores[indices], 0.0),
      valid=valid,
      anchors=jnp.where(valid, anchors[indices], -1),
      truncated=proposals.truncated)


def _rank_by_quota(key, foreground, background, iou, config):
  """Returns [R] numbers, highest for RoIs within the quota of their kind; else at random."""
  hard = background & (iou >= config.roi_hard_negative_iou)
  keys = jax.random.split(key, 4)
  size = config.rois_per_image
  sample = functools.partial(sample_mask, limit=size)
  chosen_foreground = sample(keys[0], foreground, int(size * config.roi_positive_fraction))
  negatives = size - chosen_foreground.sum()
  hard_quota = jnp.round(negatives * config.roi_hard_negative_fraction).astype(jnp.int32)
  chosen_hard = sample(keys[1], hard, hard_quota)
  chosen_easy = sample(keys[2], background & ~hard, negatives - chosen_hard.sum())
  # First those within their quota, then negatives, then positives beyond it.
  return (4.0 * (chosen_foreground | chosen_hard | chosen_easy) + 2.0 * background
          + jax.random.uniform(keys[3], iou.shape))


def roi_targets(boxes: Array, valid: Array, ground_truth: GroundTruth, *,
                config: Config) -> RoiTargets:
  """Matches each RoI to the object of largest box IoU (paper, section 3.2).

  Args:
    boxes: [R, 4] RoIs.
    valid: [R] bool.
    ground_truth: of the image.
    config: model and thresholds.

  Returns:
    `RoiTargets`. RoIs that are neither foreground nor background are not valid.
  """
  # Constants, see the top of the file: a mask target read in the box would move with it.
  boxes, ground_truth = jax.lax.stop_gradient(boxes), jax.tree.map(jnp.asarray, ground_truth)
  iou, matched, _ = match_ground_truth(boxes, ground_truth)
  foreground, background = (valid & chosen for chosen in split_by_overlap(
      boxes, iou, ground_truth, positive_iou=config.train.roi_positive_iou,
      negative_iou=config.train.roi_positive_iou))
  size = config.model.mask_size
  masks = read_binary_masks(ground_truth.masks, matched, ground_truth.boxes[matched], boxes, size)
  if config.train.binarize_mask_targets:
    masks = masks >= config.train.mask_threshold
  masks = jnp.where(foreground[:, None, None], masks, 0)
  deltas = encode_boxes(ground_truth.boxes[matched], boxes, stds=config.model.box_delta_stds)
  return RoiTargets(
      valid=foreground | background,
      foreground=foreground,
      labels=jnp.where(foreground, ground_truth.labels[matched], 0),
      masks=masks.astype(boxes.dtype),
      areas=ground_truth.areas[matched],
      box_deltas=jnp.where(foreground[:, None], deltas, 0.0))


def mask_level_labels(targets: RoiTargets, mask_logits: Array, boxes: Array, *,
                      config: TrainConfig) -> jax.Array:
  """Labels RoIs whose predicted mask also overlaps the object's; the others are background.

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
