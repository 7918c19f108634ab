"""VGG-16 trained on ImageNet, from Keras, NumPy, torchvision, timm or Caffe.

Its convolutions are the backbone; its two dense layers, where the file has them, begin both paths
of stage 3 (paper, section 3.3, after Fast R-CNN).
"""

import numpy as np

from mnc_jax.config import ModelConfig
from mnc_jax.weights import sources
from mnc_jax.weights.architectures.vgg16_names import DEPTHS, Naming, find_naming, places
from mnc_jax.weights.formats.lazy import Lazy, WeightsFile
from mnc_jax.weights.sources import Source

_CHANNELS = (3, 64, 128, 256, 512, 512)  # Of the image and of each block.


def match(file: WeightsFile, config: ModelConfig) -> Source | None:
  """Finds VGG-16 in a file.

  Args:
    file: of any format.
    config: the model.

  Returns:
    Its convolutions, the mean they were trained with and (if there) its dense layers, each for
    both paths of stage 3; or None if it is no VGG.

  Raises:
    ValueError: if it is a VGG of another depth or with batch norm, lacks a convolution, has one
      too many or of a wrong shape, or if the model's backbone is another.
  """
  naming = find_naming(file)
  if naming is None:
    return None
  _check_layers(file, naming)
  if config.backbone != "vgg16":
    raise ValueError(f"{file.path} holds VGG-16 ({naming.kind}), but model.backbone is "
                     f'"{config.backbone}": set it to "vgg16", or take other weights')
  arrays, used = _backbone(file, naming)
  for layer, name in zip(("fc6", "fc7"), naming.dense, strict=True):
    if name in file.arrays:
      arrays |= _dense(file, naming, layer, name)
      used |= {name, naming.bias_of(name)}
  left_over = tuple(name for name in file.arrays if name not in used)
  return Source(f"VGG-16 ({naming.kind})", arrays, left_over)


def _check_layers(file: WeightsFile, naming: Naming):
  """Refuses other members of the family, and convolutions that are missing or too many."""
  if any(name.startswith("features.") and name.endswith("running_mean") for name in file.arrays):
    raise ValueError(f"{file.path} holds a VGG with batch norm ({naming.kind}), but the backbone "
                     "is VGG-16 without: take vgg16, not vgg16_bn")
  wanted = naming.layers(DEPTHS[16])
  for number, depths in DEPTHS.items():
    if number != 16 and naming.kernels == set(naming.layers(depths)):
      raise ValueError(f"{file.path} holds VGG-{number} ({naming.kind}), but the backbone "
                       "is VGG-16")
  missing = [name for layer in wanted for name in (layer, naming.bias_of(layer))
             if name not in file.arrays]
  if missing:
    raise ValueError(f"{file.path} lacks {len(missing)} of the {2 * len(wanted)} arrays of "
                     f"VGG-16's convolutions ({naming.kind}): {', '.join(missing)}")
  extra = sorted(naming.kernels - set(wanted))
  if extra:
    raise ValueError(f"{file.path} has convolutions that VGG-16 ({naming.kind}) has not: "
                     f"{', '.join(extra)}")


def _backbone(file, naming):
  """Returns the backbone's arrays by our paths, and the names they have in the file."""
  arrays = (sources.pixel_parameters_of_unit_rgb() if naming.unit_rgb else
            sources.pixel_parameters(sources.OXFORD_MEAN_BGR))
  used, inputs = set(), _CHANNELS[0]
  for (block, layer), name in zip(places(DEPTHS[16]), naming.layers(DEPTHS[16]), strict=True):
    outputs, bias_name = _CHANNELS[block], naming.bias_of(name)
    kernel, bias = _convolution(file, naming, name, inputs, outputs)
    if naming.unit_rgb and inputs == _CHANNELS[0]:
      kernel = sources.blue_first(kernel)
    place = f"features/conv{block}_{layer}"
    arrays |= {f"{place}/kernel": kernel, f"{place}/bias": bias}
    used |= {name, bias_name}
    inputs = outputs
  return arrays, used


def _convolution(file, naming, name, inputs, outputs):
  """Returns kernel and bias as the backbone holds them."""
  bias_name = naming.bias_of(name)
  shape = (outputs, inputs, 3, 3) if naming.channels_first else (3, 3, inputs, outputs)
  for place, expected in ((name, shape), (bias_name, (outputs,))):
    found = file.arrays[place].shape
    if found != expected:
      raise ValueError(f"{file.path} has {place} with shape {found}, but that of VGG-16 "
                       f"({naming.kind}) has shape {expected}")
  kernel = file.arrays[name]
  return (sources.convolution(kernel) if naming.channels_first else kernel,
          file.arrays[bias_name])


def _dense(file, naming, layer, name):
  """Returns kernel and bias of fc6 or fc7 for both paths of stage 3.

  Their shapes are compared with the model's when they are put in place, not here: who takes the
  backbone alone need not care.
  """
  bias_name = naming.bias_of(name)
  if bias_name not in file.arrays:
    raise ValueError(f"{file.path} has {name} ({naming.kind}) but lacks {bias_name}")
  kernel = file.arrays[name]
  if naming.channels_first:
    kernel = (sources.dense_on_map(kernel, _CHANNELS[-1]) if layer == "fc6" else
              sources.dense(kernel))
  kernel = _finite(file, name, kernel)
  bias = _finite(file, bias_name, file.arrays[bias_name])
  return {f"category_stage/{layer}{path}/{part}": lazy for path in ("", "_mask")
          for part, lazy in (("kernel", kernel), ("bias", bias))}


def _finite(file, name, lazy):
  """Refuses dense layers full of NaN, as in torchvision's IMAGENET1K_FEATURES."""
  def read():
    array = lazy.read()
    if not np.isfinite(array).all():
      raise ValueError(
          f"{file.path}: {name} has values that are not finite. torchvision's IMAGENET1K_FEATURES "
          "have no dense layers, and expect pixels of another scale: take IMAGENET1K_V1")
    return array
  return Lazy(lazy.shape, read)
