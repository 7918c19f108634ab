"""VGG-16 trained on ImageNet, from Keras, NumPy, torchvision, timm or Caffe.

Its convolutions are the backbone; its two dense layers, where the file has them, initialise both
paths of stage 3 (paper, section 3.3, after Fast R-CNN), unless its features are no longer conv5_3
(`ModelConfig.pyramid_stride`).

Names of arrays do not say what pixels a network was trained with; those of its library are assumed.
Conversions of Caffe's weights to PyTorch, which have torchvision's names and Caffe's pixels, are
loaded, but wrong.
"""

from collections.abc import Callable, Iterable
import re
from typing import NamedTuple

import numpy as np

from mnc_jax.config import ModelConfig
from mnc_jax.model.backbones.vgg16 import VGG16_LAYERS, ConvLayer
from mnc_jax.weights import conversion
from mnc_jax.weights.conversion import OXFORD, UNIT_RGB, MatchedWeights, Pixels
from mnc_jax.weights.formats.lazy import WeightsFile

_CONVOLUTIONS = tuple(layer.name for layer in VGG16_LAYERS)
_DENSE_LAYERS = ("fc6", "fc7")
# Convolutions of each block of VGG's other members (Simonyan & Zisserman 2015, table 1), which
# are only recognised.
_OTHERS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 19: (2, 2, 4, 4, 4)}
_FEWEST = 8  # Convolutions that make a file one of VGG's kind: AlexNet has five.

# <layer>/.../kernel:0 (Keras 2), <layer>_W_1:0 (1), <layer>_W (NumPy), <layer>/vars/0 (3).
_KERAS_NAME = re.compile(
    r"(?:^|/)(?P<layer>block\d_conv\d|fc[12])(?=[/_])(?:.*[/_])?"
    r"(?:(?P<kernel>kernel(?::0)?|W(?:_\d)?(?::0)?|vars/0)|bias(?::0)?|b(?:_\d)?(?::0)?|vars/1)$")
# Keras 3 numbers the layers of a kind instead of naming them.
_NUMBERED_NAME = re.compile(
    r"(?:^|/)(?P<kind>conv2d|dense)(?:_(?P<number>\d+))?/vars/(?P<part>[01])$")

# torchvision's `VGG16_Weights.IMAGENET1K_FEATURES`, from amdegroot/ssd.pytorch, has dense layers of
# NaN. It documents these pixels as red first, (x / 255 - mean) / (1 / 255).
_FEATURES_PIXELS = Pixels(
    "RGB, 0 to 255, ImageNet mean (torchvision's IMAGENET1K_FEATURES)",
    tuple(255 * mean for mean in (0.48235, 0.45882, 0.40784)), (1.0, 1.0, 1.0), red_first=True)


class _Library(NamedTuple):
  """How one library names and lays out the layers of a file.

  Attributes:
    kind: the library.
    kernels: names of the kernels of all convolutions in the file.
    names: our names of layers ("conv1_1", ..., "fc7"), in order -> {our name: (name of the kernel,
      name of the bias)}, whether the file has them or not.
    channels_first: kernels are [out, in, height, width], dense ones [out, in], and maps are
      flattened channels first; else [height, width, in, out], [in, out] and channels last.
    pixels: that the network was trained with.
  """
  kind: str
  kernels: set[str]
  names: Callable[[Iterable[str]], dict[str, tuple[str, str]]]
  channels_first: bool
  pixels: Pixels


def match(file: WeightsFile, config: ModelConfig) -> MatchedWeights | None:
  """Matches a file that holds VGG-16.

  Args:
    file: of any format.
    config: the model.

  Returns:
    Its convolutions, the mean they were trained with and (if there) its dense layers, each for
    both paths of stage 3; or None if it is no VGG.

  Raises:
    ValueError: if it is a VGG of another depth or with batch norm, lacks a convolution, has one
      too many, twice or of a wrong shape, or if the model's backbone is another.
  """
  library = next((library for library in (_caffe(file), _torch(file), _keras(file))
                  if len(library.kernels) >= _FEWEST), None)
  if library is None:
    return None
  names = library.names(_CONVOLUTIONS + _DENSE_LAYERS)
  _check_layers(file, library, [names[layer] for layer in _CONVOLUTIONS])
  if config.backbone != "vgg16":
    raise ValueError(f"{file.path} holds VGG-16 ({library.kind}), but model.backbone is "
                     f'"{config.backbone}": set it to "vgg16", or use other weights')
  arrays = conversion.pixel_parameters(library.pixels)
  for layer in VGG16_LAYERS:
    arrays |= _convolution(file, library, layer, *names[layer.name])
  dense = [] if config.pyramid_stride or library.pixels is _FEATURES_PIXELS else [
      layer for layer in _DENSE_LAYERS if names[layer][0] in file.arrays]
  for layer in dense:
    arrays |= _dense(file, library, layer, *names[layer])
  used = {name for layer in (*_CONVOLUTIONS, *dense) for name in names[layer]}
  return MatchedWeights(f"VGG-16 ({library.kind})", arrays,
                        tuple(name for name in file.arrays if name not in used),
                        pixels=library.pixels.description)


def _caffe(file):
  """conv1_1/0 (kernel) and conv1_1/1 (bias) ... fc6/0, fc7/0."""
  return _Library(
      kind="Caffe",
      kernels={name for name in file.arrays if re.fullmatch(r"conv\d_\d/0", name)},
      names=lambda layers: {layer: (f"{layer}/0", f"{layer}/1") for layer in layers},
      channels_first=True, pixels=OXFORD)


def _torch(file):
  """features.0.weight ... classifier.0.weight (torchvision) or pre_logits.fc1.weight (timm)."""
  timm = any(name.startswith("pre_logits.") for name in file.arrays)
  known = timm or any(name.startswith("classifier.") for name in file.arrays)
  dense = ({"fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2"} if timm else
           {"fc6": "classifier.0", "fc7": "classifier.3"})

  def names(layers):
    # Convolutions, their ReLUs, and a pooling per block are numbered together.
    stems = {layer: dense.get(layer) or f"features.{2 * number + int(layer[4]) - 1}"
             for number, layer in enumerate(layers)}
    return {layer: (f"{stem}.weight", f"{stem}.bias") for layer, stem in stems.items()}

  return _Library(
      kind="timm" if timm else "torchvision" if known else "torchvision or timm",
      # Kernels of batch norm are vectors.
      kernels={name for name, lazy in file.arrays.items()
               if re.fullmatch(r"features\.\d+\.weight", name) and len(lazy.shape) != 1},
      names=names, channels_first=True,
      pixels=_FEATURES_PIXELS if _is_hollow(file, dense.values()) else UNIT_RGB)


def _is_hollow(file, layers):
  """Returns whether dense layers have numbers that are none; reading their biases is enough."""
  biases = (file.arrays.get(f"{layer}.bias") for layer in layers)
  return any(bias and not np.isfinite(bias.read()).all() for bias in biases)


def _keras(file):
  """block1_conv1 ... fc1, fc2, names that files of NumPy have too."""
  kernels, biases = {}, {}
  for name in file.arrays:
    found = _KERAS_NAME.search(name)
    # A saved model may also hold its optimiser's moments, named after the layers they are of.
    if found and not name.startswith("optimizer"):
      _note(kernels if found["kernel"] else biases, found["layer"], name, file)
  if not kernels:
    kernels, biases = _numbered(file)

  def names(layers):
    keras = {layer: _keras_name(layer) for layer in layers}
    return {layer: (kernels.get(name, name), biases.get(name, f"{name} (bias)"))
            for layer, name in keras.items()}

  return _Library(
      kind="NumPy" if file.container == "npz" else "Keras",
      kernels={name for layer, name in kernels.items() if "conv" in layer},
      names=names, channels_first=False, pixels=OXFORD)


def _note(names, layer, name, file):
  """Adds the name of a layer's array; raises if the file has another of that layer."""
  if layer in names:
    raise ValueError(f"{file.path} has {names[layer]} and {name}: of which network the weights are "
                     "to be read is unknown. Save a file of the one VGG-16 alone")
  names[layer] = name


def _keras_name(layer):
  return {"fc6": "fc1", "fc7": "fc2"}.get(layer) or f"block{layer[4]}_conv{layer[6]}"


def _numbered(file):
  """Returns kernels and biases by layer where a file has exactly VGG-16's 13 convolutions."""
  found = {"conv2d": ({}, {}), "dense": ({}, {})}
  for name in file.arrays:
    parts = _NUMBERED_NAME.search(name)
    if parts and not name.startswith("optimizer"):
      _note(found[parts["kind"]][int(parts["part"])], int(parts["number"] or 0), name, file)
  if len(found["conv2d"][0]) != len(_CONVOLUTIONS):
    return {}, {}
  layers = {"conv2d": _CONVOLUTIONS, "dense": _DENSE_LAYERS}
  kernels, biases = ({_keras_name(layer): found[kind][part][number]
                      for kind in layers for number, layer in enumerate(layers[kind])
                      if number in found[kind][part]} for part in (0, 1))
  return kernels, biases


def _check_layers(file, library, wanted):
  """Raises for other members of the family, and for missing and extra convolutions."""
  if any(name.startswith("features.") and name.endswith("running_mean") for name in file.arrays):
    raise ValueError(f"{file.path} holds a VGG with batch norm ({library.kind}), but the backbone "
                     "is VGG-16 without: use vgg16, not vgg16_bn")
  for number, depths in _OTHERS.items():
    layers = [f"conv{block}_{index}" for block, depth in enumerate(depths, start=1)
              for index in range(1, depth + 1)]
    if library.kernels == {kernel for kernel, _ in library.names(layers).values()}:
      raise ValueError(f"{file.path} holds VGG-{number} ({library.kind}), but the backbone "
                       "is VGG-16")
  missing = [name for names in wanted for name in names if name not in file.arrays]
  if missing:
    raise ValueError(f"{file.path} lacks {len(missing)} of the {2 * len(wanted)} arrays of "
                     f"VGG-16's convolutions ({library.kind}): {', '.join(missing)}")
  extra = sorted(library.kernels - {kernel for kernel, _ in wanted})
  if extra:
    raise ValueError(f"{file.path} has convolutions that VGG-16 ({library.kind}) does not have: "
                     f"{', '.join(extra)}")


def _convolution(file, library, layer: ConvLayer, kernel_name, bias_name):
  """Returns kernel and bias of a convolution by our paths."""
  shape = ((layer.outputs, layer.inputs, 3, 3) if library.channels_first else
           (3, 3, layer.inputs, layer.outputs))
  for name, expected in ((kernel_name, shape), (bias_name, (layer.outputs,))):
    found = file.arrays[name].shape
    if found != expected:
      raise ValueError(f"{file.path} has {name} with shape {found}, but in VGG-16 "
                       f"({library.kind}) it has shape {expected}")
  kernel = file.arrays[kernel_name]
  if library.channels_first:
    kernel = conversion.convolution(kernel)
  if library.pixels.red_first and layer is VGG16_LAYERS[0]:
    kernel = conversion.blue_first(kernel)
  return {f"features/{layer.name}/kernel": kernel,
          f"features/{layer.name}/bias": file.arrays[bias_name]}


def _dense(file, library, layer, kernel_name, bias_name):
  """Returns kernel and bias of fc6 or fc7 for both paths of stage 3.

  Their shapes are compared with the model's when they are loaded, not here: with
  `only_backbone` they do not matter.
  """
  if bias_name not in file.arrays:
    raise ValueError(f"{file.path} has {kernel_name} ({library.kind}) but lacks {bias_name}")
  kernel = file.arrays[kernel_name]
  if library.channels_first:
    kernel = (conversion.dense_on_map(kernel, VGG16_LAYERS[-1].outputs) if layer == "fc6" else
              conversion.dense(kernel))
  return {f"category_stage/{layer}{path}/{part}": lazy for path in ("", "_mask")
          for part, lazy in (("kernel", kernel), ("bias", file.arrays[bias_name]))}
