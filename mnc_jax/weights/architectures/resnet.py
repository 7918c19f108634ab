"""ResNet-26, -50 and -101 of torchvision and timm, recognised by the names of their arrays.

The names say neither what pixels a network was trained with nor where its strides are: pixels are
taken to be torchvision's, and strides to be in the 3 x 3 convolutions. Networks with these names
and others, such as conversions from Caffe (blue first, 0 ... 255, strides in the 1 x 1
convolutions) and timm's resnetaa and resnetblur (strides in a blur), are loaded, but wrong.

Batch normalisations are folded into a scale and a bias; the first kernel is made to read BGR.
"""

import re
from typing import NamedTuple

import numpy as np

from mnc_jax.config import ModelConfig
from mnc_jax.model.backbones.resnet import DEPTHS
from mnc_jax.weights import conversion
from mnc_jax.weights.conversion import MatchedWeights
from mnc_jax.weights.formats.lazy import Lazy, WeightsFile

_EPSILON = 1e-5
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
# By the number of blocks in layer1 ... layer4, also of some that are only recognised.
_BASIC = {(2, 2, 2, 2): "ResNet-18", (3, 4, 6, 3): "ResNet-34"}
_BOTTLENECK = {(3, 8, 36, 3): "ResNet-152"} | {
    depths: name.replace("resnet", "ResNet-") for name, depths in DEPTHS.items()}


class _Layer(NamedTuple):
  """A convolution and its normalisation: names in the file, and where they go in our tree."""
  conv: str
  norm: str
  parents: tuple[str, ...]
  suffix: str


def match(file: WeightsFile, config: ModelConfig) -> MatchedWeights | None:
  """Matches a file that holds a ResNet.

  layer4 (conv5_x) goes to both paths of stage 3, as one `Lazy` twice; with
  `config.pyramid_stride`, where stage 3 has none, it is unused. The classifier is unused.
  Counters of training steps (num_batches_tracked) are ignored.

  Args:
    file: of any format.
    config: the model.

  Returns:
    All its layers; None if the file has no ResNet. Shapes are not compared with the model's.

  Raises:
    ValueError: if it is a ResNet that does not fit `config.backbone` or `config.backbone_norm`, if
      it differs from torchvision's, or if arrays are missing.
  """
  names = {name for name in file.arrays if not name.endswith("num_batches_tracked")}
  depths = tuple(_depth(names, number) for number in range(1, 5))
  if not any(depths):
    return None
  kind = _plain_kind(file, names, depths)
  _check_config(file, names, depths, kind, config)
  layers = list(_layers(depths))
  wanted = set().union(*map(_array_names, layers))
  _check_names(file, kind, wanted, names)
  arrays = conversion.pixel_parameters(conversion.UNIT_RGB)
  used = set()
  for layer in layers:
    if config.pyramid_stride and not layer.parents[0].startswith("features"):
      continue
    used |= _array_names(layer)
    kernel, norm = _kernel(file, layer.conv), _fold(file, layer.norm)
    for parent in layer.parents:
      arrays[f"{parent}/conv{layer.suffix}/kernel"] = kernel
      arrays |= {f"{parent}/bn{layer.suffix}/{part}": array for part, array in norm.items()}
  return MatchedWeights(f"{kind} (torchvision or timm)", arrays, tuple(sorted(names - used)),
                        pixels=conversion.UNIT_RGB.description)


def _array_names(layer):
  return {f"{layer.conv}.weight", *(f"{layer.norm}.{part}" for part in _NORM_PARTS)}


def _depth(names, number):
  found = (re.match(rf"layer{number}\.(\d+)\.", name) for name in names)
  return 1 + max((int(match[1]) for match in found if match), default=-1)


def _plain_kind(file, names, depths):
  """Returns "ResNet-50"; raises for variants that are no plain ResNet of bottleneck blocks."""
  unknown = f"a ResNet of {' + '.join(map(str, depths))} blocks"
  if not any(name.endswith(".conv3.weight") for name in names):
    raise ValueError(f"{file.path} holds {_BASIC.get(depths, unknown)}, made of basic blocks of "
                     "two convolutions: the backbone is made of bottleneck blocks of three, as "
                     f"those of {_choices()} are")
  kind = _BOTTLENECK.get(depths, unknown)
  if "conv1.0.weight" in names:
    raise ValueError(f"{file.path} holds {kind} with a stem of several convolutions (ResNet-D, "
                     "like timm's resnet50d): the backbone begins with one of 7 x 7")
  stem, inner, conv2 = (file.arrays[name].shape if name in names else () for name in (
      "conv1.weight", "layer1.0.conv1.weight", "layer1.0.conv2.weight"))
  if len(conv2) == 4 and conv2[0] != conv2[1]:
    raise ValueError(f"{file.path} holds {kind} with grouped convolutions (ResNeXt): "
                     f"layer1.0.conv2.weight has shape {conv2}, in a plain ResNet its first two "
                     "numbers are equal")
  if stem and inner and stem[0] != inner[0]:
    raise ValueError(f"{file.path} holds a wide {kind}: {inner[0]} channels inside its first "
                     f"block, where a plain ResNet has {stem[0]}")
  return kind


def _check_config(file, names, depths, kind, config):
  fitting = [backbone for backbone, blocks in DEPTHS.items() if blocks == depths]
  if not fitting:
    raise ValueError(f"{file.path} holds {kind}, which is no backbone of this library: its "
                     f"ResNets are {_choices()}")
  if config.backbone not in fitting:
    raise ValueError(f'{file.path} holds {kind}, but model.backbone is "{config.backbone}": set '
                     f'model.backbone to "{fitting[0]}", or load other weights')
  if config.backbone_norm == "group":
    raise ValueError(f'{file.path} holds {kind}, but model.backbone_norm is "group", which is '
                     'trained from scratch: set model.backbone_norm to "frozen_batch", or leave '
                     "train.init_weights empty")
  if not any(name.endswith(".running_var") for name in names):
    raise ValueError(f"{file.path} holds {kind} without means and variances of batch "
                     "normalisation: it was trained with another kind, which cannot be read")


def _check_names(file, kind, wanted, names):
  missing = sorted(wanted - names)
  if missing:
    raise ValueError(f"{file.path} lacks {len(missing)} of the {len(wanted)} arrays of "
                     f"{kind}: {_some(missing)}")
  extra = sorted(name for name in names - wanted if re.match(r"(conv1|bn1|layer\d)\.", name))
  if extra:
    raise ValueError(f"{file.path} is no plain {kind}: its layers also have {_some(extra)}")


def _layers(depths):
  """Yields each `_Layer` of a ResNet with `depths` blocks in layer1 ... layer4."""
  yield _Layer("conv1", "bn1", ("features",), "1")
  for number, depth in enumerate(depths, start=1):
    parents = ("features",) if number < 4 else ("category_stage/conv5", "category_stage/conv5_mask")
    for index in range(depth):
      block = f"layer{number}.{index}"
      ours = tuple(f"{parent}/layer{number}_{index}" for parent in parents)
      for n in "123":
        yield _Layer(f"{block}.conv{n}", f"{block}.bn{n}", ours, n)
      if index == 0:
        yield _Layer(f"{block}.downsample.0", f"{block}.downsample.1", ours, "_down")


def _kernel(file, conv):
  """Returns a kernel in our layout; the first one reads BGR."""
  name = f"{conv}.weight"
  array = file.arrays[name]
  if len(array.shape) != 4:
    raise ValueError(f"{file.path}: {name} has shape {array.shape}; a kernel has four axes")
  if conv != "conv1":
    return conversion.convolution(array)
  if array.shape[1] != 3:
    raise ValueError(f"{file.path}: {name} has shape {array.shape}; images have 3 channels, "
                     f"not {array.shape[1]}")
  return conversion.blue_first(conversion.convolution(array))


def _fold(file, norm):
  """Returns scale = gamma / sqrt(variance + epsilon) and bias = beta - mean * scale."""
  parts = {part: file.arrays[f"{norm}.{part}"] for part in _NORM_PARTS}
  shapes = {part: array.shape for part, array in parts.items()}
  if len(set(shapes.values())) > 1:
    raise ValueError(f"{file.path}: the arrays of {norm} differ in shape: {shapes}")
  read = lambda part: parts[part].read().astype(np.float64)
  scale = lambda: read("weight") / np.sqrt(read("running_var") + _EPSILON)
  bias = lambda: read("bias") - read("running_mean") * scale()
  shape = shapes["weight"]
  return {"scale": Lazy(shape, lambda: scale().astype(np.float32)),
          "bias": Lazy(shape, lambda: bias().astype(np.float32))}


def _choices():
  return ", ".join(DEPTHS)


def _some(names):
  return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
