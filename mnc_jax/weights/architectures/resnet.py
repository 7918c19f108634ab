"""ResNet-26, -50 and -101 of torchvision and timm, known by the names of their arrays.

Batch normalisations are folded into a scale and a bias; the first kernel is turned to blue first.
"""

import re

import numpy as np

from mnc_jax.config import ModelConfig
from mnc_jax.model.backbones.resnet import DEPTHS
from mnc_jax.weights import sources
from mnc_jax.weights.formats.lazy import Lazy, WeightsFile
from mnc_jax.weights.sources import Source

_EPSILON = 1e-5
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
# Blocks of layer1 ... layer4, some only to be called by their name.
_BASIC = {(2, 2, 2, 2): "ResNet-18", (3, 4, 6, 3): "ResNet-34"}
_BOTTLENECK = {(2, 2, 2, 2): "ResNet-26", (3, 4, 6, 3): "ResNet-50", (3, 4, 23, 3): "ResNet-101",
               (3, 8, 36, 3): "ResNet-152"}


def match(file: WeightsFile, config: ModelConfig) -> Source | None:
  """Finds the place of each array of a ResNet.

  layer4 (conv5_x) goes to both paths of stage 3, as one `Lazy` twice. The classifier is left
  over. Counters of training steps (num_batches_tracked) are not spoken of.

  Args:
    file: of any format.
    config: the model.

  Returns:
    A `Source`; None if the file has no ResNet. Shapes are not compared with the model's.

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
  wanted = {name for conv, norm, _ in _layers(depths)
            for name in (f"{conv}.weight", *(f"{norm}.{part}" for part in _NORM_PARTS))}
  _check_names(file, kind, wanted, names)
  arrays = sources.pixel_parameters_of_unit_rgb()
  for conv, norm, ours in _layers(depths):
    arrays |= _place(_kernel(file, conv), ours, "conv", "kernel")
    for part, array in _fold(file, norm).items():
      arrays |= _place(array, ours, "bn", part)
  return Source(f"{kind} (torchvision or timm)", arrays, tuple(sorted(names - wanted)))


def _depth(names, number):
  found = (re.match(rf"layer{number}\.(\d+)\.", name) for name in names)
  return 1 + max((int(match[1]) for match in found if match), default=-1)


def _plain_kind(file, names, depths):
  """Returns "ResNet-50"; refuses what only resembles a ResNet of bottleneck blocks."""
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
    raise ValueError(f'{file.path} holds {kind}, but model.backbone_norm is "group", which '
                     'learns from scratch: set model.backbone_norm to "frozen_batch", or leave '
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
  """Yields (convolution, normalisation, ours): ours are paths with {} for "conv" or "bn"."""
  yield "conv1", "bn1", ("features/{}1",)
  for number, depth in enumerate(depths, start=1):
    parents = ("features",) if number < 4 else ("category_stage/conv5", "category_stage/conv5_mask")
    for index in range(depth):
      block, ours = f"layer{number}.{index}", f"layer{number}_{index}"
      places = [(f"conv{n}", f"bn{n}", str(n)) for n in (1, 2, 3)]
      if index == 0:
        places.append(("downsample.0", "downsample.1", "_down"))
      for conv, norm, place in places:
        yield (f"{block}.{conv}", f"{block}.{norm}",
               tuple(f"{parent}/{ours}/{{}}{place}" for parent in parents))


def _place(array, ours, module, part):
  return {f"{path.format(module)}/{part}": array for path in ours}


def _kernel(file, conv):
  """Returns a kernel as the backbone holds it; the first reads blue first."""
  name = f"{conv}.weight"
  array = file.arrays[name]
  if len(array.shape) != 4:
    raise ValueError(f"{file.path}: {name} has shape {array.shape}; a kernel has four axes")
  if conv != "conv1":
    return sources.convolution(array)
  if array.shape[1] != 3:
    raise ValueError(f"{file.path}: {name} has shape {array.shape}; images have 3 channels, "
                     f"not {array.shape[1]}")
  return sources.blue_first(sources.convolution(array))


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
