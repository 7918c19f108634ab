"""What would make a run useless or end it late, found before its first step."""

from collections.abc import Sequence
import warnings

import numpy as np

from mnc_jax.coco.faults import count_noun
from mnc_jax.config import Config, ModelConfig, TrainConfig
from mnc_jax.data import Source, load_source
from mnc_jax.data.scaling import choose_buckets, scaled_sizes
from mnc_jax.model.backbones.features import make_backbone
from mnc_jax.model.backbones.resnet import DEPTHS
from mnc_jax.ops.anchors import anchor_sides

_SMALLEST_SCALE = 1 / 8  # Of the scales that are proposed: of a stride.


def check_fit(source: Source, config: Config) -> None:
  """Raises if images, sides, buckets and anchors of a run do not fit each other.

  The evaluation images are included, as far as the config names any: `mnc evaluate` reads them
  after the training.

  Raises:
    ValueError: naming the fields, and values that fit.
  """
  check_sides(config)
  check_blocks(config)
  warn_of_schedule(config.train)
  data = config.data
  sizes = scaled_sizes(source.sizes, data.short_side, data.long_side)
  most = data.crop_size if any(data.crop_size) else np.array(data.padded_sizes)[
      choose_buckets(sizes, data.padded_sizes, source.image_ids)]
  check_anchors(np.minimum(sizes, most), source.name, config)
  warn_of_unused_anchors(largest_views(sizes, most, config), source.name, config)
  try:
    held_out = load_source(data, "eval")
  except ValueError:  # There is none, which validation and evaluation report.
    return
  choose_buckets(scaled_sizes(held_out.sizes, data.short_side, data.long_side),
                 data.padded_sizes, held_out.image_ids)


def check_batch(batch_size: int, devices: int) -> None:
  """Raises if `data.batch_size` cannot be divided over the devices of all hosts.

  Raises:
    ValueError: naming the number of devices, and a batch that can be.
  """
  if batch_size % devices:
    fitting = -(-batch_size // devices) * devices
    raise ValueError(
        f"data.batch_size is {batch_size}, which cannot be divided over {devices} devices: use "
        f"--data.batch-size {fitting}, with the rate and steps that fit it "
        "(docs/guide/several_hosts.md), or fewer devices (of GPUs: CUDA_VISIBLE_DEVICES=0)")


def check_sides(config: Config) -> None:
  """Raises if the backbone cannot be run on a bucket or on `data.crop_size`.

  Raises:
    ValueError: naming the field, and sides that fit.
  """
  if config.model.backbone == "vgg16" or config.model.backbone in DEPTHS:
    return  # They ignore a last, incomplete cell.
  multiple = make_backbone(config.model).multiple
  crops = (config.data.crop_size,) if any(config.data.crop_size) else ()
  for field, sizes in (("data.buckets", config.data.padded_sizes), ("data.crop_size", crops)):
    wrong = next((size for size in sizes if any(side % multiple for side in size)), None)
    if wrong:
      fitting = [-(-side // multiple) * multiple for side in wrong]
      raise ValueError(f"{field} has {wrong[0]} x {wrong[1]}, but the "
                       f"{config.model.backbone} backbone needs multiples of {multiple} pixels, "
                       f"for example {fitting[0]} x {fitting[1]}")


def check_blocks(config: Config) -> None:
  """Raises if a backbone without named blocks is to freeze some, or has another rate.

  Raises:
    ValueError: naming the field.
  """
  if make_backbone(config.model).blocks or config.model.backbone == "small":
    return
  for name, value, default in (
      ("model.frozen_blocks", config.model.frozen_blocks, (0, ModelConfig.frozen_blocks)),
      ("train.backbone_rate", config.train.backbone_rate, (1.0,))):
    if value not in default:
      raise ValueError(f"{name} is {value}, but the backbone {config.model.backbone!r} has no "
                       f"`blocks`, so nothing is known of its layers: set it to {default[0]:g}")


def warn_of_schedule(config: TrainConfig) -> None:
  """Warns of a warm-up or drops of the learning rate that have no effect, or a late one."""
  steps, last = config.decay_steps, config.num_steps
  if config.warmup_steps >= last:
    warnings.warn(f"train.warmup_steps is {config.warmup_steps}, and train.num_steps {last}: the "
                  "rate does not reach train.learning_rate. Lower train.warmup_steps", stacklevel=3)
  if config.schedule != "step":
    return
  if steps and max(steps) >= last:
    warnings.warn(
        f"train.decay_steps is {steps}, of which {max(steps)} is not reached in {last} steps "
        "(train.num_steps): the rate is not divided there. Lower it too", stacklevel=3)
  if len(set(steps)) < len(steps):
    warnings.warn(f"train.decay_steps is {steps}: a step that is named twice divides once",
                  stacklevel=3)
  if steps and min(steps) < 1:
    warnings.warn(f"train.decay_steps is {steps}: the rate is divided for {min(steps)} from the "
                  "first step on. For a rate that is never divided, name no step", stacklevel=3)
  elif steps and min(steps) < config.warmup_steps:
    warnings.warn(
        f"train.decay_steps is {steps}, of which {min(steps)} is within the warm-up: the rate is "
        f"divided when that ends, after {config.warmup_steps} steps (train.warmup_steps)",
        stacklevel=3)


def largest_views(sizes: np.ndarray, most: np.ndarray | Sequence[int], config: Config
                  ) -> np.ndarray:
  """Returns [M, 2] (height, width) of the largest views that augmentation makes of images.

  Args:
    sizes: [N, 2] at network scale.
    most: [N, 2] or [2], to which views are cut.
    config: `data.scale_jitter` and `data.turn`.
  """
  largest = np.minimum(np.rint(sizes * max(config.data.scale_jitter)), most)
  if not config.data.turn:
    return largest
  # Only in square buckets by a quarter.
  height, width = np.broadcast_to(most, sizes.shape).T
  return np.concatenate([largest, largest[height == width, ::-1]])


def warn_of_unused_anchors(sizes: np.ndarray, name: str, config: Config) -> None:
  """Warns of shapes of anchors inside no view: stage 1 learns nothing of them, and proposes them.

  Args:
    sizes: [N, 2], from `largest_views`.
    name: of the images, for messages.
    config: of the run.
  """
  inside = find_fitting(sizes, config)
  # Without any, `check_anchors` says more.
  unused = ~inside.any(axis=0) & inside.any()
  if not unused.any():
    return
  sides = anchor_sides(make_backbone(config.model).stride, config.model.anchor_scales,
                       config.model.anchor_ratios)[unused]
  largest = sides[sides.prod(axis=1).argmax()]
  warnings.warn(
      f"{name}: {count_noun(len(sides), 'shape')} of anchors, such as {largest[0]:.0f} x "
      f"{largest[1]:.0f} pixels (width x height), inside no image after scaling: stage 1 proposes "
      "them without having learned them. Raise train.anchor_border, or lower model.anchor_scales "
      f"{config.model.anchor_scales}", stacklevel=2)


def check_anchors(sizes: np.ndarray, name: str, config: Config) -> None:
  """Raises if no anchor is inside any image, and warns if none is inside some: L1 would be 0.

  Args:
    sizes: [N, 2] (height, width) of the images at network scale.
    name: of the images, for messages.
    config: of the run.

  Raises:
    ValueError: naming the field, and scales that fit.
  """
  inside = find_fitting(sizes, config)
  fits = inside.any(axis=1)
  sides = anchor_sides(make_backbone(config.model).stride, config.model.anchor_scales,
                       config.model.anchor_ratios)
  if fits.all():
    return
  height, width = sizes[np.argmin(fits)]
  smallest = sides[sides.prod(axis=1).argmin()]
  message = (
      f"{name}: no anchor is inside {'any' if not fits.any() else np.sum(~fits)} of the "
      f"{len(sizes)} images, on which stage 1 learns nothing: the smallest anchors of "
      f"model.anchor_scales {config.model.anchor_scales} have {smallest[0]:.0f} x {smallest[1]:.0f}"
      f" pixels (width x height), and an image has {width} x {height} after scaling. "
      f"{_propose_scales(sizes, config)}")
  if not fits.any():
    raise ValueError(message)
  warnings.warn(message, stacklevel=2)


def _propose_scales(sizes, config):
  scales = np.array(config.model.anchor_scales)
  while scales.min() > _SMALLEST_SCALE:
    scales = scales / 2
    if find_fitting(sizes, config, scales=scales).any(axis=1).all():
      return f"Scales that fit: --model.anchor-scales {' '.join(f'{scale:g}' for scale in scales)}"
  return "Raise data.short_side, or data.crop_size"


def find_fitting(sizes: np.ndarray, config: Config, *,
                 scales: Sequence[float] | np.ndarray = ()) -> np.ndarray:
  """Returns [N, shapes], whether anchors of a shape are inside an image of each of `sizes` [N, 2].

  `scales` are those of the config if empty.
  """
  model, border = config.model, config.train.anchor_border
  stride = make_backbone(model).stride
  sides = anchor_sides(stride, scales if len(scales) else model.anchor_scales, model.anchor_ratios)
  halves = sides[None, :, ::-1] / 2  # (height, width), as in `sizes`.
  bounds = sizes[:, None]
  # Of the cells whose anchor begins inside, the first is the one whose anchor ends first.
  cells = np.maximum(np.ceil((halves - border) / stride - 0.5), 0)
  count = -(-bounds // stride) if model.partial_cells else bounds // stride
  inside = (cells < count) & ((cells + 0.5) * stride + halves <= bounds + border)
  return np.all(inside, axis=2)
