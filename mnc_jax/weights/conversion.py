"""Arrays of a weight file matched to our parameters, with kernels in our layout."""

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np

from mnc_jax.weights.formats.lazy import Lazy


class Pixels(NamedTuple):
  """The pixels that a backbone was trained with: (pixel - mean) * scale of 0 ... 255.

  Attributes:
    description: for people.
    mean: of the channels, in the order that the first kernel reads them.
    scale: of the channels, likewise.
    red_first: this order is red, green, blue; else blue, green, red.
  """
  description: str
  mean: tuple[float, ...]
  scale: tuple[float, ...]
  red_first: bool


# What the Oxford group's VGG-16 was trained with, and so Caffe's and Keras's (Simonyan & Zisserman
# 2015; gist.github.com/ksimonyan/211839e770f7b538e2d8).
OXFORD = Pixels("BGR, 0 to 255, ImageNet mean", (103.939, 116.779, 123.68),
                (1.0, 1.0, 1.0), red_first=False)
# What torchvision and timm train with: (x / 255 - mean) / std = (x - 255 mean) / (255 std).
UNIT_RGB = Pixels("RGB, 0 to 1, ImageNet mean and deviation",
                  tuple(255 * mean for mean in (0.485, 0.456, 0.406)),
                  tuple(1 / (255 * std) for std in (0.229, 0.224, 0.225)), red_first=True)


class MatchedWeights(NamedTuple):
  """The arrays of a file by the paths of our parameters.

  Attributes:
    kind: what the file holds, for messages: "VGG-16 (torchvision)".
    arrays: {path in the parameter tree, like "features/conv1_1/kernel": `Lazy`}, read in our
      layout. The same `Lazy` at two paths is read once.
    unused: names of the other arrays in the file.
    whole_stages: the file must have all arrays of each stage of which it has one, as a saved
      model does.
    pixels: that the backbone is taken to be trained with, for messages; "" where the file has
      their mean and scale.
  """
  kind: str
  arrays: dict[str, Lazy]
  unused: tuple[str, ...]
  whole_stages: bool = False
  pixels: str = ""


def constant(values: Sequence[float]) -> Lazy:
  """Returns `values` as an array that needs no file."""
  return Lazy(np.shape(values), lambda: np.asarray(values, np.float32))


def convolution(lazy: Lazy) -> Lazy:
  """Returns `lazy`, a kernel [out, in, height, width] (Caffe, PyTorch), as [..., in, out]."""
  outputs, inputs, height, width = lazy.shape
  return Lazy((height, width, inputs, outputs),
              lambda: np.ascontiguousarray(lazy.read().transpose(2, 3, 1, 0)))


def dense(lazy: Lazy) -> Lazy:
  """Returns `lazy`, a kernel [out, in] or, as a convolution, [out, in, 1, 1], as [in, out]."""
  outputs = lazy.shape[0]
  return Lazy((math.prod(lazy.shape[1:]), outputs),
              lambda: np.ascontiguousarray(lazy.read().reshape(outputs, -1).T))


def dense_on_map(lazy: Lazy, channels: int) -> Lazy:
  """Converts the kernel of a dense layer on a flattened map from channels first to last.

  Args:
    lazy: [out, channels * height * width] (Caffe, PyTorch), or [out, channels, height, width].
    channels: of the map; if they do not divide the inputs, reading raises.

  Returns:
    [height * width * channels, out].
  """
  outputs = lazy.shape[0]

  def read():
    kernel = lazy.read().reshape(outputs, channels, -1)
    return np.ascontiguousarray(kernel.transpose(2, 1, 0)).reshape(-1, outputs)

  return Lazy((math.prod(lazy.shape[1:]), outputs), read)


def blue_first(lazy: Lazy) -> Lazy:
  """Returns `lazy`, a first kernel [height, width, 3, out] for RGB, as one for BGR."""
  return Lazy(lazy.shape, lambda: np.ascontiguousarray(lazy.read()[:, :, ::-1]))


def pixel_parameters(pixels: Pixels) -> dict[str, Lazy]:
  """Returns mean and scale as the parameters of a backbone, whose channels are blue first."""
  order = -1 if pixels.red_first else 1
  return {"features/pixel_mean": constant(pixels.mean[::order]),
          "features/pixel_scale": constant(pixels.scale[::order])}
