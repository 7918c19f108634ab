"""What fits a prepared set: config, sides, anchors and slots for instances, as a command."""

from collections.abc import Mapping, Sequence
import shlex
from typing import NamedTuple

import numpy as np

from mnc_jax import configs
from mnc_jax.config import Config
from mnc_jax.model.backbones.features import make_backbone

_STEP = 32  # Sides are multiples of it, which all backbones accept as they come.
_MANY = 10  # Instances in half of the images or more: as under a microscope.
_SLOTS = (10, 20, 50, 100, 200, 400)
# Anchors of one shape that are further apart miss objects in between at IoU .7.
_LARGEST_FACTOR = 2.0


class _Use(NamedTuple):
  """How a shipped config is fitted to a set.

  Attributes:
    name: of the config.
    smallest: cells per side that nine of ten objects should have, or more.
    short_sides: smallest and largest short side in pixels.
    enlarged: largest factor by which most images are enlarged.
    seconds: of a step on two idle CPU cores of a slow machine at the config's own sides.
  """
  name: str
  smallest: float
  short_sides: tuple[int, int]
  enlarged: float
  seconds: float


_PHOTOGRAPHS = _Use("photographs", smallest=3.0, short_sides=(320, 800), enlarged=1.5,
                    seconds=4.3)
_MICROSCOPY = _Use("nuclei", smallest=3.0, short_sides=(256, 768), enlarged=2.0, seconds=1.5)


class Fit(NamedTuple):
  """What fits a set.

  Attributes:
    config: name of the shipped config.
    short_side: in pixels.
    long_side: in pixels.
    max_instances: slots for the instances of an image.
    anchor_scales: sides of the anchors in cells.
    minutes: of the config's training on two idle CPU cores of a slow machine.
  """
  config: str
  short_side: int
  long_side: int
  max_instances: int
  anchor_scales: tuple[float, ...]
  minutes: float


def find_fit(index: Mapping[str, np.ndarray]) -> Fit | None:
  """Returns what fits the images and instances of a split.

  Args:
    index: of the split: `sizes` [N, 2], `instance_counts` [N], and of each of n instances that are
      no crowd `box_sizes` [n, 2] (height, width) and `box_images` [n], the row of its image.

  Returns:
    The fit, or None if no instance is known.
  """
  if not len(index.get("box_sizes", ())):
    return None
  use = _MICROSCOPY if np.median(index["instance_counts"]) >= _MANY else _PHOTOGRAPHS
  config = configs.get(use.name)
  stride = make_backbone(config.model).stride
  small, large = np.quantile(_relative_sides(index), (0.1, 0.95))
  short = _short_side(index, use, use.smallest * stride / small)
  long = _round_up(short * np.quantile(_aspects(index), 0.9))
  scales = _spread(small * short / stride, large * short / stride)
  most = int(index["instance_counts"].max())
  slots = next((slots for slots in _SLOTS if slots >= most), _SLOTS[-1])
  return Fit(use.name, short, long, slots, scales, _minutes(config, use, short, long))


def _relative_sides(index):
  """Returns [n], the square root of each box's area as a share of its image's short side."""
  sides = np.sqrt(index["box_sizes"].prod(axis=1))
  return sides / index["sizes"].min(axis=1)[index["box_images"]]


def _aspects(index):
  return index["sizes"].max(axis=1) / index["sizes"].min(axis=1)


def _short_side(index, use, wanted):
  """Returns the short side nearest to `wanted` to which most images are not enlarged too much."""
  low, high = use.short_sides
  largest = _round_up(use.enlarged * np.median(index["sizes"].min(axis=1)))
  return int(np.clip(_round_up(wanted), low, max(low, min(high, largest))))


def _round_up(side):
  return int(-(-side // _STEP) * _STEP)


def _spread(low, high):
  """Returns scales from `low` to `high` in equal factors of at most `_LARGEST_FACTOR`."""
  count = int(np.ceil(np.log(high / low) / np.log(_LARGEST_FACTOR) - 1e-6)) + 1
  return tuple(float(f"{scale:.2g}") for scale in np.geomspace(low, high, count))


def _minutes(config: Config, use, short, long):
  crops = any(config.data.crop_size)
  share = 1.0 if crops else short * long / (config.data.short_side * config.data.long_side)
  return config.train.num_steps * use.seconds * share / 60


def describe_fit(index: Mapping[str, np.ndarray], options: Sequence[str]) -> str:
  """Returns sentences and a command on what fits the training split; "" if nothing is known.

  Args:
    index: see `find_fit`.
    options: of `mnc train` that name the set.
  """
  fit = find_fit(index)
  if fit is None:
    return ""
  low, middle, high = np.quantile(_relative_sides(index), (0.05, 0.5, 0.95))
  backbone = configs.get(fit.config).model.backbone
  parts = [
      ["mnc", "train", "--config", fit.config, "--workdir", "runs/mine"], options,
      ["--data.short-side", str(fit.short_side), "--data.long-side", str(fit.long_side),
       "--data.buckets", "--data.max-instances", str(fit.max_instances)],
      ["--model.anchor-scales", *(f"{scale:g}" for scale in fit.anchor_scales)],
      ["--train.init-weights", "VGG16_FILE"] if backbone == "vgg16" else []]
  command = " \\\n    ".join(shlex.join(part) for part in parts if part)
  return (f"Objects are {low:.0%} to {high:.0%} of the short side of their image (median "
          f"{middle:.0%}).\nWhat fits, {fit.minutes:.0f} minutes on two cores of a slow CPU:\n"
          f"  {command}\n")
