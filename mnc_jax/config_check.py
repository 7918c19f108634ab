"""Values that no run can have, told by the name of their field."""

import math

from mnc_jax.config import Config, ModelConfig

# Fields that change no shape, but what the weights mean.
MEANINGS = ("box_delta_stds", "anchor_scales", "anchor_ratios", "roi_grid", "inclusive_corners",
            "partial_cells")
_AT_LEAST_ONE = (
    "data.short_side", "data.long_side", "data.max_instances", "data.batch_size",
    "data.eval_batch_size", "train.num_steps", "train.log_every", "train.anchors_per_image",
    "train.pre_nms", "train.num_proposals", "train.rois_per_image", "inference.pre_nms",
    "inference.num_proposals", "inference.max_instances", "model.resnet_width",
    "model.roi_size", "model.roi_pool", "model.roi_chunk", "model.mask_size", "model.mask_hidden",
    "model.dense_width", "model.box_stage_width")
_AT_LEAST_ZERO = (
    "data.num_workers", "data.color_jitter", "train.learning_rate", "train.weight_decay",
    "train.bias_rate", "train.warmup_steps", "train.clip_norm", "train.checkpoint_every",
    "train.evaluate_every", "train.evaluate_images", "model.box_gradient_clip",
    "model.frozen_blocks", "inference.min_score", "inference.refined_roi_pool")

# Blocks of a trunk that may be frozen: VGG-16's conv1_x to conv5_x; a ResNet's conv1 to conv4_x.
_BLOCKS, _RESNET_BLOCKS = {"vgg16": 5}, 4


def check_same_meaning(made: ModelConfig, asked: ModelConfig, origin) -> None:
  """Refuses to use weights under a config that gives them another meaning.

  Args:
    made: what the weights were made with.
    asked: what they are to be used with.
    origin: the file or folder they are from.

  Raises:
    ValueError: naming the first field that differs, and both values.
  """
  for field in MEANINGS:
    theirs, ours = getattr(made, field), getattr(asked, field)
    if theirs != ours:
      raise ValueError(f"{origin} was made with model.{field} {theirs}, but here it is {ours}: "
                       "its weights would mean something else. Use the config it was made with")


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
  model = config.model
  blocks = _BLOCKS.get(model.trunk, _RESNET_BLOCKS)
  if model.frozen_blocks > blocks and model.trunk != "small":
    raise ValueError(f"model.frozen_blocks is {model.frozen_blocks}, but the {model.trunk} trunk "
                     f"has {blocks}")
  for field in ("box_delta_stds", "anchor_scales", "anchor_ratios", "trunk_widths"):
    values = getattr(model, field)
    if not values or not all(value > 0 for value in values):
      raise ValueError(f"model.{field} is {values}: there must be one or more, each above 0")
  options = config.inference
  if not options.soft_nms_sigma > 0:
    raise ValueError(f"inference.soft_nms_sigma is {options.soft_nms_sigma}: it must be above 0")
  if not options.scales or not all(0 < scale < math.inf for scale in options.scales):
    raise ValueError(f"inference.scales is {options.scales}: it must have one factor or more, each "
                     "above 0 (1 is the network input as it is)")
