"""The numbers that a field may have."""

import dataclasses
import operator

from mnc_jax.config import Config, DataConfig
from mnc_jax.config.serialization import is_usable

_AT_LEAST_ONE = (
    "data.short_side", "data.long_side", "data.max_instances", "data.batch_size",
    "data.eval_batch_size", "train.num_steps", "train.log_every", "train.anchors_per_image",
    "train.proposals.pre_nms", "train.proposals.num_proposals", "train.rois_per_image",
    "inference.proposals.pre_nms", "inference.proposals.num_proposals", "inference.max_instances",
    "model.resnet_width", "model.roi_size", "model.roi_pool", "model.roi_chunk", "model.mask_size",
    "model.mask_hidden", "model.dense_width", "model.box_stage_width",
    "model.mask_convs", "model.pyramid_width", "train.accumulate_steps")
_AT_LEAST_ZERO = (
    "train.seed", "data.num_workers", "data.page", "train.learning_rate",
    "train.weight_decay", "train.bias_rate", "train.warmup_steps", "train.clip_norm",
    "train.weight_box", "train.weight_mask", "train.weight_category", "train.checkpoint_every",
    "train.evaluate_every", "train.evaluate_images", "train.hang_minutes", "train.patience",
    "model.box_gradient_clip", "model.frozen_blocks", "inference.refined_roi_pool",
    "train.anchor_positive_iou", "train.anchor_negative_iou", "train.roi_positive_iou",
    "train.roi_hard_negative_iou", "train.mask_label_iou", "train.proposals.nms_iou",
    "inference.proposals.nms_iou", "inference.nms_iou", "inference.similar_iou",
    "inference.max_shrink", "inference.tile_overlap")
_ABOVE_ZERO = ("train.backbone_rate", "inference.soft_nms_sigma")
# Thresholds of probabilities, and shares. An IoU above 1 is one that nothing reaches.
_UP_TO_ONE = (
    "train.roi_positive_fraction", "train.roi_hard_negative_fraction", "train.mask_threshold",
    "train.momentum", "inference.mask_threshold", "inference.min_score")
_BELOW_ONE = ("train.average_decay",)


def check_ranges(config: Config) -> None:
  """Raises for numbers that are not finite, or outside the range of their field.

  Raises:
    ValueError: naming the field and its range.
  """
  _check_numbers(config)
  allowed = ((_AT_LEAST_ONE, "1 or more", lambda x: x >= 1),
             (_AT_LEAST_ZERO, "0 or more", lambda x: x >= 0),
             (_ABOVE_ZERO, "above 0", lambda x: x > 0),
             (_UP_TO_ONE, "from 0 to 1", lambda x: 0 <= x <= 1),
             (_BELOW_ONE, "0 or more, and below 1", lambda x: 0 <= x < 1))
  for names, words, holds in allowed:
    for name in names:
      value = operator.attrgetter(name)(config)
      if not holds(value):
        raise ValueError(f"{name} is {value}: it must be {words}")
  for negative, positive in (("train.anchor_negative_iou", "train.anchor_positive_iou"),
                             ("train.roi_hard_negative_iou", "train.roi_positive_iou")):
    low, high = (operator.attrgetter(name)(config) for name in (negative, positive))
    if low > high:
      raise ValueError(f"{negative} is {low}, above {positive}, which is {high}: a box could be "
                       "both")
  check_augmentation(config.data)


def check_augmentation(config: DataConfig) -> None:
  """Rejects values of `config` by which no image could be drawn.

  Raises:
    ValueError: naming the field.
  """
  low, high = config.scale_jitter
  if not 0 < low <= high:
    raise ValueError(f"data.scale_jitter must be (low, high), 0 < low <= high, found {(low, high)}")
  if not 0 < config.crop_share <= 1:
    raise ValueError(f"data.crop_share must be in (0, 1], found {config.crop_share}")
  if min(config.crop_size) <= 0 and any(config.crop_size):
    raise ValueError(f"data.crop_size must be two positive sides or (0, 0), found "
                     f"{config.crop_size}")
  if not 0 <= config.color_jitter < 1:
    raise ValueError(f"data.color_jitter must be in [0, 1), found {config.color_jitter}")
  if not 0 <= config.copy_paste <= 1:
    raise ValueError(f"data.copy_paste must be a probability, in [0, 1], found {config.copy_paste}")
  if not 0 <= config.repeat_below <= 1:
    raise ValueError("data.repeat_below must be a share of the images, in [0, 1], found "
                     f"{config.repeat_below}")


def _check_numbers(part, path=""):
  for field in dataclasses.fields(part):
    value, name = getattr(part, field.name), f"{path}{field.name}"
    if dataclasses.is_dataclass(value):
      _check_numbers(value, f"{name}.")
    elif not is_usable(value):
      raise ValueError(f"{name} is {value!r:.60}: finite numbers are needed, whole ones below "
                       "2**63")
