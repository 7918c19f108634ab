"""Where the tiles of a large image are, and at which scales.

Objects of a large image may have any size. So tiles are run at several scales, from the whole image
as one tile to tiles that are shrunk by `inference.max_shrink`. Each scale is responsible for the
sizes that it sees best, as in Singh and Davis 2018 ("An Analysis of Scale Invariance in Object
Detection"): too small there, an object is looked for in finer tiles, where it is still whole, and
too large in coarser ones. The finest scale has most of the tiles, the others a third of that.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mnc_jax.coco.rle import MOST_PIXELS
from mnc_jax.config import Config
from mnc_jax.data.records import BrokenImageError
from mnc_jax.data.scaling import choose_buckets, scale_factors, scaled_sizes
from mnc_jax.model.backbones.features import make_backbone

# Largest over smallest side of the boxes taken from one level. With levels a factor of 2 apart each
# size is taken from one or two of them.
_RANGE = 3


class Level(NamedTuple):
  """The tiles of one scale.

  Attributes:
    size: (height, width) of the scaled image.
    tile: (height, width) of its tiles, inside the scaled image.
    corners: (top, left) of each tile in the scaled image, none outside.
    sides: smallest and largest long side of the boxes that are taken from this level.
  """
  size: tuple[int, int]
  tile: tuple[int, int]
  corners: tuple[tuple[int, int], ...]
  sides: tuple[float, float]


class TilePlan(NamedTuple):
  """The tiles of one image, all padded to one size.

  Attributes:
    size: (height, width) of the image.
    bucket: (height, width) of the network input: that of the whole image.
    levels: the whole image first, then from coarse to fine.
  """
  size: tuple[int, int]
  bucket: tuple[int, int]
  levels: tuple[Level, ...]

  @property
  def num_tiles(self) -> int:
    """The number of tiles, the whole image included."""
    return sum(len(level.corners) for level in self.levels)


def need_tiles(sizes: ArrayLike, config: Config) -> np.ndarray:
  """Returns [N] bool, which images are shrunk by more than `inference.max_shrink`.

  Args:
    sizes: [N, 2] (height, width) of the images.
    config: as for `plan_tiles`.
  """
  largest = config.inference.max_shrink
  return (_shrinks(sizes, config) > largest) & bool(largest)


def plan_tiles(size: tuple[int, int], config: Config, *, name: str = "the image"
               ) -> TilePlan | None:
  """Returns the tiles of an image, None if it is not shrunk by more than `inference.max_shrink`.

  Args:
    size: (height, width) of the image.
    config: its `data` has the size of the network input, the tiles' own; `inference` the factor
      and the overlap.
    name: of the image in messages.

  Raises:
    BrokenImageError: if the image as a whole fits into no bucket, or the factor would enlarge it to
      more pixels than an image may have.
  """
  data, inference = config.data, config.inference
  if not need_tiles([size], config)[0]:
    return None
  shrink = float(_shrinks([size], config)[0])
  whole = scaled_sizes([size], data.short_side, data.long_side)
  bucket = data.padded_sizes[choose_buckets(
      whole, data.padded_sizes, np.zeros(1, int), name=name)[0]]
  steps = math.ceil(math.log2(shrink / inference.max_shrink))
  factors = [shrink * (inference.max_shrink / shrink) ** (step / steps)
             for step in range(1, steps + 1)]
  sizes = [tuple(whole[0].tolist()), *(
      tuple(max(round(side / factor), 1) for side in size) for factor in factors)]
  if math.prod(sizes[-1]) > MOST_PIXELS:
    raise BrokenImageError(
        f"{name}: its finest tiles would be cut from one of {sizes[-1][1]} x {sizes[-1][0]} "
        f"pixels, more than {MOST_PIXELS}: raise inference.max_shrink, which is "
        f"{inference.max_shrink:g}")
  least = _least_side(bucket, config)
  return TilePlan(size, bucket, tuple(
      _make_level(scaled, bucket, inference.tile_overlap, (
          least if index < steps else 0.0, _RANGE * least if index else math.inf))
      for index, scaled in enumerate(sizes)))


def describe_tiles(size: tuple[int, int], name: str, config: Config) -> str:
  """Returns a sentence if an image is run in tiles, else "".

  Args:
    size: (height, width) of the image.
    name: of the image, for the sentence.
    config: as for `plan_tiles`.
  """
  plan, largest = plan_tiles(size, config, name=name), config.inference.max_shrink
  if plan is None:
    return ""
  overlap = math.ceil(config.inference.tile_overlap * min(plan.bucket)) * largest
  shrink = _shrinks([size], config)[0]
  return (
      f"{name} ({size[1]} x {size[0]}) would be shrunk by {shrink:.1f}, so it is also run in "
      f"tiles, {plan.num_tiles} in all, of which the finest are shrunk by {largest:g} "
      f"(inference.max_shrink; 0: no tiles) and overlap by {overlap:.0f} pixels or more")


def _shrinks(sizes, config):
  return 1 / scale_factors(sizes, config.data.short_side, config.data.long_side)


def _least_side(bucket, config):
  """Returns the long side below which boxes are left to the next finer level.

  There they are twice as large: still whole in a tile, and no larger than the largest anchor.
  """
  largest = max(config.model.anchor_scales) * make_backbone(config.model).stride
  return min(config.inference.tile_overlap * min(bucket), largest) / 2


def _make_level(size, bucket, overlap, sides):
  tile = tuple(min(*sides) for sides in zip(size, bucket, strict=True))
  tops, lefts = (_starts(*sides, math.ceil(overlap * sides[1]))
                 for sides in zip(size, bucket, strict=True))
  return Level(size, tile, tuple((top, left) for top in tops for left in lefts), sides)


def _starts(length, side, overlap):
  """Returns where tiles of a side begin, evenly spaced over a length, the last one inside it."""
  if length <= side:
    return [0]
  steps = -(-(length - side) // (side - overlap))
  return [step * (length - side) // steps for step in range(steps + 1)]
