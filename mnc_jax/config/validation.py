"""Validates config values; errors name the field."""

import dataclasses
import math
import operator

from mnc_jax.config import Config, ModelConfig
from mnc_jax.config.extensions import BACKBONES, check_names
from mnc_jax.config.paths import as_local_path, as_path
from mnc_jax.config.ranges import check_ranges

# Fields that change what the outputs mean, but no shape (the sizes with mask_head conv or a ResNet,
# whose layers take maps of any size).
MEANINGS = ("box_delta_stds", "anchor_scales", "anchor_ratios", "roi_size", "mask_size", "roi_grid",
            "roi_pool", "inclusive_corners", "partial_cells", "roi_border", "mask_resize")

_LOCAL_PATHS = ("data.train_annotations", "data.train_images", "data.eval_annotations",
                "data.eval_images", "train.init_weights")

_LARGEST_OVERLAP = 0.8  # Each pixel is then in 25 tiles.
_LEAST_OVERLAP = 0.1  # Tiles give up to the scales above them what is larger than their overlap.

# Blocks of a backbone that may be frozen: VGG-16's conv1_x to conv5_x; a ResNet's conv1 to conv4_x.
_BLOCKS, _RESNET_BLOCKS = {"vgg16": 5}, 4


# Fields of a trained model that change how it is computed, not what.
FREE = ("roi_method", "roi_chunk", "compute_dtype")
# Fields of the data that only training reads.
TRAINING_DATA = ("flip", "turn", "scale_jitter", "crop_share", "crop_size", "invert",
                 "color_jitter", "copy_paste", "repeat_below", "batch_size")


def _is_resnet(config):
  return not _is_registered(config) and config.model.backbone.startswith("resnet")


def _is_registered(config):
  """Returns whether the backbone is the program's own, which may use any field."""
  return config.model.backbone not in BACKBONES


# A field, what it needs to have an effect, and whether a config has that.
_CONDITIONS = (
    ("model.backbone_norm", "a ResNet as model.backbone",
     lambda c: _is_resnet(c) or _is_registered(c)),
    ("model.resnet_width", "a ResNet as model.backbone",
     lambda c: _is_resnet(c) or _is_registered(c)),
    ("model.backbone_widths", "model.backbone small",
     lambda c: c.model.backbone == "small" or _is_registered(c)),
    ("model.frozen_blocks", "a VGG-16 or ResNet as model.backbone",
     lambda c: c.model.backbone != "small"),
    ("train.backbone_rate", "a VGG-16 or ResNet as model.backbone",
     lambda c: c.model.backbone != "small"),
    ("model.pixel_mean_bgr", "a VGG-16 or ResNet that starts from random weights",
     lambda c: c.model.backbone != "small" and not c.train.init_weights),
    ("model.partial_cells", "model.backbone vgg16 without model.pyramid_stride",
     lambda c: c.model.backbone == "vgg16" and not c.model.pyramid_stride),
    ("model.pyramid_stride", "a VGG-16 or ResNet as model.backbone",
     lambda c: c.model.backbone != "small"),
    ("model.pyramid_width", "model.pyramid_stride", lambda c: c.model.pyramid_stride),
    ("model.mask_convs", "model.mask_head conv", lambda c: c.model.mask_head == "conv"),
    ("model.roi_border", "model.roi_grid center or edge", lambda c: c.model.roi_grid != "caffe"),
    ("model.dense_width", "a VGG-16 or small model.backbone, or model.pyramid_stride (a ResNet has "
     "its conv5_x instead)", lambda c: not _is_resnet(c) or c.model.pyramid_stride),
    ("model.box_gradient_clip", "model.box_gradient", lambda c: c.model.box_gradient),
    ("data.data_dir", "a prepared set (data.train_annotations and the like name files)",
     lambda c: not (c.data.train_annotations or c.data.eval_annotations)),
    ("train.gt_in_stage_4", "train.num_stages 5", lambda c: c.train.num_stages == 5),
    ("train.momentum", "train.optimizer sgd", lambda c: c.train.optimizer == "sgd"),
    ("train.decay_steps", "train.schedule step", lambda c: c.train.schedule == "step"),
    ("train.init_reset_categories", "train.init_weights, of which more than the backbone is taken",
     lambda c: c.train.init_weights and not c.train.init_only_backbone),
    ("train.init_only_backbone", "train.init_weights", lambda c: c.train.init_weights),
    ("train.evaluate_images", "train.evaluate_every", lambda c: c.train.evaluate_every),
    ("train.patience", "train.evaluate_every", lambda c: c.train.evaluate_every),
    ("inference.soft_nms_sigma", "inference.nms soft",
     lambda c: c.inference.nms == "soft"),
    ("inference.nms_iou", "inference.nms greedy",
     lambda c: c.inference.nms == "greedy"),
    ("inference.tile_overlap", "inference.max_shrink", lambda c: c.inference.max_shrink),
)


def check_same_meaning(trained: ModelConfig, requested: ModelConfig, origin: object) -> None:
  """Raises if a config changes what the outputs of weights mean, though all shapes fit.

  Args:
    trained: config that the weights were trained with.
    requested: config that they are to be used with.
    origin: file or folder of the weights, for the message.

  Raises:
    ValueError: naming the first field that differs, and both values.
  """
  for field in MEANINGS:
    theirs, ours = getattr(trained, field), getattr(requested, field)
    if theirs != ours:
      raise ValueError(f"{origin} was trained with model.{field} {theirs}, but here it is {ours}: "
                       "its outputs would mean something else. Use the config of its training")


def check_effects(config: Config, *, base: Config | None = None) -> None:
  """Raises if a field was set that has no effect with the rest of the config.

  Args:
    config: to be used.
    base: config whose fields were overridden (None: the defaults). Fields that equal those of
      `base`, or are empty, 0 or False, were not set.

  Raises:
    ValueError: naming the field, and what it needs.
  """
  base = base or Config()
  for name, needs, has_effect in _CONDITIONS:
    value, unset = _value(config, name), _value(base, name)
    if value and value != unset and not has_effect(config):
      raise ValueError(f"{name} is {value}, but it has no effect without {needs}: set it to "
                       f"{unset}, or correct the other")


def check_pooling(config: Config) -> None:
  """Raises ValueError if stage 3, which pools RoIs 2 x 2, would not read their last cells.

  For trainings alone: models that were trained so keep working.
  """
  size, model = config.model.roi_size, config.model
  if size % 2 and (not _is_resnet(config) or model.pyramid_stride):
    raise ValueError(f"model.roi_size is {size}: it must be even, since stage 3 pools 2 x 2 cells")


def check_overrides(trained: Config, requested: Config) -> None:
  """Rejects overrides that a trained model ignores or that would change what its outputs mean.

  Args:
    trained: config of the training.
    requested: the same with overrides.

  Raises:
    ValueError: naming the first such field.
  """
  bound = {"model": [field.name for field in dataclasses.fields(trained.model)
                     if field.name not in FREE],
           "train": [field.name for field in dataclasses.fields(trained.train)],
           "data": TRAINING_DATA}
  for name in (f"{section}.{field}" for section, fields in bound.items() for field in fields):
    theirs, ours = _value(trained, name), _value(requested, name)
    if theirs != ours:
      raise ValueError(
          f"{name} was {theirs} in training; set to {ours} here it would "
          + ("change what its outputs mean" if name.startswith("model.") else "have no effect"))
  check_effects(requested, base=trained)


def _value(config, name):
  return operator.attrgetter(name)(config)


def check_channels(channels: tuple[int, ...], name: str) -> None:
  """Raises ValueError unless none, one or three channels are chosen, counted from 1."""
  if len(channels) not in (0, 1, 3) or min(channels, default=1) < 1:
    raise ValueError(f"{name} is {channels}: it must name one channel or three, counted from 1")


def _check_profile_steps(config):
  steps = config.train.profile_steps
  if steps and not (len(steps) == 2 and 1 <= steps[0] <= steps[1]):
    raise ValueError(f"train.profile_steps is {steps}: it must be two numbers, the first and the "
                     "last step, counted from 1")
  if steps and steps[1] > config.train.num_steps:
    raise ValueError(f"train.profile_steps is {steps}, but the run ends with step "
                     f"{config.train.num_steps} (train.num_steps)")


def _check_accumulation(config):
  steps, train = config.train.accumulate_steps, config.train
  if steps > 1 and train.shard_optimizer:
    raise ValueError(f"train.accumulate_steps is {steps}, which train.shard_optimizer cannot do: "
                     "set one of them to its default")
  if train.num_steps % steps:
    raise ValueError(f"train.num_steps is {train.num_steps}, no multiple of train.accumulate_steps "
                     f"{steps}: the gradients of the last {train.num_steps % steps} would be lost")


def check_values(config: Config) -> None:
  """Raises for values that no run can have: counts below 1, rates below 0, numbers not finite.

  Raises:
    ValueError: naming the field.
  """
  check_ranges(config)
  for name in _LOCAL_PATHS:
    as_local_path(_value(config, name), name=name)
  as_path(config.data.data_dir, name="data.data_dir", clouds=("gs",))
  check_channels(config.data.channels, "data.channels")
  _check_profile_steps(config)
  _check_accumulation(config)
  check_names(config)
  _check_model(config)
  _check_inference(config.inference)


def _check_model(config):
  model = config.model
  blocks = _BLOCKS.get(model.backbone, _RESNET_BLOCKS)
  if model.frozen_blocks > blocks and (model.backbone == "vgg16" or _is_resnet(config)):
    raise ValueError(f"model.frozen_blocks is {model.frozen_blocks}, but the {model.backbone} "
                     f"backbone has {blocks}")
  for field in ("box_delta_stds", "anchor_scales", "anchor_ratios", "backbone_widths"):
    values = getattr(model, field)
    if not values or not all(value > 0 for value in values):
      raise ValueError(f"model.{field} is {values}: there must be one or more, each above 0")
  if model.backbone == "small" and len(model.backbone_widths) < 2:
    raise ValueError(f"model.backbone_widths is {model.backbone_widths}: the small backbone needs "
                     "two or more")


def _check_inference(config):
  if not config.scales or not all(0 < scale < math.inf for scale in config.scales):
    raise ValueError(f"inference.scales is {config.scales}: it must have one factor or more, each "
                     "above 0 (1 is the network input as it is)")
  if config.tile_overlap > _LARGEST_OVERLAP:
    raise ValueError(f"inference.tile_overlap is {config.tile_overlap}: it must be "
                     f"{_LARGEST_OVERLAP} or less, or there are very many tiles")
  if config.max_shrink and config.tile_overlap < _LEAST_OVERLAP:
    raise ValueError(f"inference.tile_overlap is {config.tile_overlap}: it must be "
                     f"{_LEAST_OVERLAP} or more, or no object is small enough to be taken from "
                     "tiles (inference.max_shrink 0: no tiles)")
