"""Values that no run can have, told by the name of their field."""

import math

from mnc_jax.config import Config

_AT_LEAST_ONE = (
    "data.short_side", "data.long_side", "data.max_instances", "data.batch_size",
    "data.eval_batch_size", "train.num_steps", "train.log_every", "train.anchors_per_image",
    "train.pre_nms", "train.num_proposals", "train.rois_per_image", "inference.pre_nms",
    "inference.num_proposals", "inference.max_instances", "model.resnet_width")
_AT_LEAST_ZERO = (
    "data.num_workers", "data.color_jitter", "train.learning_rate", "train.weight_decay",
    "train.bias_rate", "train.warmup_steps", "train.clip_norm", "train.checkpoint_every",
    "train.evaluate_every", "train.evaluate_images", "model.box_gradient_clip",
    "model.frozen_blocks", "inference.min_score", "inference.refined_roi_pool")


def check_values(config: Config) -> None:
  """Refuses counts below 1, rates below 0, and views of no size.

  Raises:
    ValueError: naming the field.
  """
  for least, names in ((1, _AT_LEAST_ONE), (0, _AT_LEAST_ZERO)):
    for name in names:
      section, field = name.split(".")
      value = getattr(getattr(config, section), field)
      if not value >= least:
        raise ValueError(f"{name} is {value}: it must be {least} or more")
  options = config.inference
  if not options.soft_nms_sigma > 0:
    raise ValueError(f"inference.soft_nms_sigma is {options.soft_nms_sigma}: it must be above 0")
  if not options.scales or not all(0 < scale < math.inf for scale in options.scales):
    raise ValueError(f"inference.scales is {options.scales}: it must have one factor or more, each "
                     "above 0 (1 is the network input as it is)")
