"""How Keras, torchvision, timm and Caffe call the layers of VGG, and lay out their kernels."""

from collections.abc import Callable
import re
from typing import NamedTuple

from mnc_jax.weights.formats.lazy import WeightsFile

# Convolutions of each block, by number of layers (Simonyan & Zisserman 2015, table 1).
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_FEWEST = 8  # Convolutions that make a file one of VGG's kind: AlexNet has five.

# <layer>/.../kernel:0 (Keras 2), <layer>_W_1:0 (1), <layer>_W (NumPy), <layer>/vars/0 (3).
_KERAS_NAME = re.compile(
    r"(?:^|/)(?P<layer>block\d_conv\d|fc[12])(?=[/_])(?:.*[/_])?"
    r"(?:(?P<kernel>kernel(?::0)?|W(?:_\d)?(?::0)?|vars/0)|bias(?::0)?|b(?:_\d)?(?::0)?|vars/1)$")
# Keras 3 numbers the layers of a kind instead of naming them.
_NUMBERED_NAME = re.compile(
    r"(?:^|/)(?P<kind>conv2d|dense)(?:_(?P<number>\d+))?/vars/(?P<part>[01])$")


class Naming(NamedTuple):
  """How one library calls and lays out the layers of a file.

  Attributes:
    kind: the library.
    kernels: names of the kernels of all convolutions in the file.
    layers: depths of the blocks -> names that the kernels would have, in order.
    dense: names of the kernels of fc6 and fc7.
    bias_of: name of a kernel -> name of its bias.
    channels_first: kernels are [out, in, height, width], dense ones [out, in], and maps are
      flattened channels first; else all of it the other way round.
    unit_rgb: pixels are red first, 0 ... 1, over their spread; else blue first, 0 ... 255.
  """
  kind: str
  kernels: set
  layers: Callable
  dense: tuple
  bias_of: Callable
  channels_first: bool
  unit_rgb: bool


def find_naming(file: WeightsFile) -> Naming | None:
  """Returns whose names a file has; None if it holds no VGG of any depth."""
  return next((naming for naming in (_caffe(file), _torch(file), _keras(file))
               if len(naming.kernels) >= _FEWEST), None)


def places(depths) -> list:
  """Returns (block, layer) of each convolution, from 1, in order; `depths` is layers a block."""
  return [(block, layer) for block, depth in enumerate(depths, start=1)
          for layer in range(1, depth + 1)]


def _caffe(file):
  """conv1_1/0 (kernel) and conv1_1/1 (bias) ... fc6/0, fc7/0."""
  return Naming(
      kind="Caffe",
      kernels={name for name in file.arrays if re.fullmatch(r"conv\d_\d/0", name)},
      layers=lambda depths: [f"conv{block}_{layer}/0" for block, layer in places(depths)],
      dense=("fc6/0", "fc7/0"), bias_of=lambda name: f"{name[:-1]}1",
      channels_first=True, unit_rgb=False)


def _torch(file):
  """features.0.weight ... classifier.0.weight (torchvision) or pre_logits.fc1.weight (timm)."""
  timm = any(name.startswith("pre_logits.") for name in file.arrays)
  told = timm or any(name.startswith("classifier.") for name in file.arrays)
  return Naming(
      kind="timm" if timm else "torchvision" if told else "torchvision or timm",
      # Kernels of batch norm are vectors.
      kernels={name for name, lazy in file.arrays.items()
               if re.fullmatch(r"features\.\d+\.weight", name) and len(lazy.shape) != 1},
      layers=_torch_layers,
      dense=(("pre_logits.fc1.weight", "pre_logits.fc2.weight") if timm else
             ("classifier.0.weight", "classifier.3.weight")),
      bias_of=lambda name: name.removesuffix("weight") + "bias",
      channels_first=True, unit_rgb=True)


def _torch_layers(depths):
  # Convolutions, their ReLUs, and a pooling a block are numbered together.
  return [f"features.{2 * number + block - 1}.weight"
          for number, (block, _) in enumerate(places(depths))]


def _keras(file):
  """block1_conv1 ... fc1, fc2, which files of NumPy are called after too."""
  kernels, biases = {}, {}
  for name in file.arrays:
    found = _KERAS_NAME.search(name)
    # A saved model may also hold its optimiser's moments, called after the layers they are of.
    if found and not name.startswith("optimizer"):
      (kernels if found["kernel"] else biases)[found["layer"]] = name
  if not kernels:
    kernels, biases = _numbered(file)
  layer_of = {name: layer for layer, name in kernels.items()}
  def name_of(layer):
    return kernels.get(layer, layer)  # A layer that is missing keeps the library's name.
  def bias_of(name):
    layer = layer_of.get(name, name)
    return biases.get(layer, f"{layer} (bias)")
  return Naming(
      kind="NumPy" if file.container == "npz" else "Keras",
      kernels={name for layer, name in kernels.items() if "conv" in layer},
      layers=lambda depths: [name_of(f"block{block}_conv{layer}")
                             for block, layer in places(depths)],
      dense=(name_of("fc1"), name_of("fc2")), bias_of=bias_of,
      channels_first=False, unit_rgb=False)


def _numbered(file):
  """Returns kernels and biases by layer where a file has just the 13 convolutions of VGG-16."""
  found = {"conv2d": ({}, {}), "dense": ({}, {})}
  for name in file.arrays:
    parts = _NUMBERED_NAME.search(name)
    if parts and not name.startswith("optimizer"):
      found[parts["kind"]][int(parts["part"])][int(parts["number"] or 0)] = name
  if len(found["conv2d"][0]) != len(places(DEPTHS[16])):
    return {}, {}
  layers = [f"block{block}_conv{layer}" for block, layer in places(DEPTHS[16])]
  def called(part):
    named = {layers[n]: name for n, name in found["conv2d"][part].items() if n < len(layers)}
    return named | {f"fc{n + 1}": name for n, name in found["dense"][part].items() if n < 2}
  return called(0), called(1)
