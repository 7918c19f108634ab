"""The interface of a backbone."""

from typing import NamedTuple

from flax import linen as nn


class Backbone(NamedTuple):
  """A backbone for one config.

  Attributes:
    module: maps images [B, H, W, 3] uint8 RGB and image_sizes [B, 2] int32 to features
      [B, h, w, K] in `compute_dtype`, zero in the cells outside each image.
    channels: K.
    stride: pixels of the network input per feature cell.
    multiple: the sides of padded images are multiples of this number of pixels, and it is a
      multiple of the stride.
    blocks: names of the layers of each block, in order; `model.frozen_blocks` counts them. Empty
      if the backbone is never pretrained.
  """
  module: nn.Module
  channels: int
  stride: int
  multiple: int
  blocks: tuple[tuple[str, ...], ...]
