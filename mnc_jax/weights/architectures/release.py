"""The authors' released five-stage model (github.com/daijifeng001/MNC) by our layers.

Caffe's kernels are [out, in, height, width] and [out, in], inputs flattened channels first; ours
end in out, channels last. Stages 4 and 5 repeat the layers of 2 and 3 under names that end in
`_ext`: an HDF5 file leaves those empty, a binary one writes the same numbers again.
"""

import math

import numpy as np

from mnc_jax.config import ModelConfig, release
from mnc_jax.model.backbones.vgg16 import VGG16_LAYERS
from mnc_jax.weights import conversion
from mnc_jax.weights.conversion import MatchedWeights, Pixels
from mnc_jax.weights.formats.lazy import Lazy, WeightsFile

KIND = "MNC, five stages (the authors' release)"
_BACKBONE = tuple(layer.name for layer in VGG16_LAYERS)
_BOX_STAGE = {"rpn_conv_3x3": "conv", "rpn_cls_score": "objectness", "rpn_bbox_pred": "box_deltas"}
_MASK_STAGE = {"fc6_maskest": "reduce", "mask_pred": "mask"}
# cls_score is trained on box overlap alone; seg_cls_score, on the masks' too, is used at test.
_CATEGORY_STAGE = {
    "fc6": "fc6", "fc7": "fc7", "fc6_mask": "fc6_mask", "fc7_mask": "fc7_mask",
    "cls_score": "box_category", "seg_cls_score": "category", "bbox_pred": "box_deltas"}
# The path of each layer of the release in the model.
PATHS = ({layer: f"features/{layer}" for layer in _BACKBONE}
         | {layer: f"box_stage/{ours}" for layer, ours in _BOX_STAGE.items()}
         | {layer: f"mask_stage/{ours}" for layer, ours in _MASK_STAGE.items()}
         | {layer: f"category_stage/{ours}" for layer, ours in _CATEGORY_STAGE.items()})
# Layers that stages 4 and 5 share.
SHARED = (*_MASK_STAGE, *_CATEGORY_STAGE)
# Layers that other models with a VGG-16 and an RPN do not have.
_MARKS = ("fc6_maskest/0", "mask_pred/0")
# lib/mnc_config.py there.
_PIXELS = Pixels("BGR, 0 to 255, the release's mean", (102.9801, 115.9465, 122.7717),
                 (1.0, 1.0, 1.0), red_first=False)
_ADVICE = "use voc_vgg16_release"


def match(file: WeightsFile, config: ModelConfig, *, only_backbone: bool = False
          ) -> MatchedWeights | None:
  """Matches a file that holds the release.

  Args:
    file: of any format.
    config: the model.
    only_backbone: the convolutions alone are wanted; the rest of the model may be another.

  Returns:
    All parameters of the model (or of its backbone), and the mean that the backbone subtracts;
    None if the file has no mask estimation. The deltas' kernels are divided by
    `config.box_delta_stds`, because the release writes them multiplied by its own. Each is read
    when its `Lazy` is; where the file has a layer's `_ext` as well, both are read then and
    compared.

  Raises:
    ValueError: if a layer is missing, does not fit the others or the config, or (when it is
      read) differs from its `_ext`; naming file and layer.
  """
  if not any(mark in file.arrays for mark in _MARKS):
    return None
  paths = {layer: PATHS[layer] for layer in (_BACKBONE if only_backbone else PATHS)}
  names = [f"{layer}/{part}" for layer in paths for part in (0, 1)]
  missing = [name for name in names if name not in file.arrays]
  if missing:
    raise ValueError(f"{file.path} lacks {len(missing)} of the {len(names)} arrays of {KIND}: "
                     f"{', '.join(missing)}")
  _check_backbone(file, config)
  if not only_backbone:
    _check_config(file, config)
    _check_shapes(file, config)
  arrays = conversion.pixel_parameters(_PIXELS)
  for layer, path in paths.items():
    weights, bias = (_shared(file, f"{layer}/{part}") for part in (0, 1))
    kernel, bias = _convert(layer, weights, bias, _outputs(file, "conv5_3"), config)
    arrays |= {f"{path}/kernel": kernel, f"{path}/bias": bias}
  used = {*names, *(f"{layer}_ext/{part}" for layer in SHARED for part in (0, 1))}
  return MatchedWeights(KIND, arrays, tuple(name for name in file.arrays if name not in used),
                        whole_stages=not only_backbone, pixels=_PIXELS.description)


def _check_fields(file, config, fields):
  for field, wanted in fields.items():
    found = getattr(config, field)
    if found != wanted:
      raise ValueError(f"{file.path} holds {KIND}, which needs model.{field} {wanted!r}, found "
                       f"{found!r}: {_ADVICE}")


def _check_backbone(file, config):
  """Rejects models with another backbone, and convolutions that do not follow each other."""
  _check_fields(file, config, {"backbone": "vgg16"})
  _compare_shapes(file, config, _backbone_shapes(file))


def _check_config(file, config):
  """Rejects models of other layers, or whose layers mean something else."""
  _check_fields(file, config, {"mask_head": "dense", "normalize": False, "share_features": True})
  anchors, ours = _outputs(file, "rpn_cls_score") // 2, _count_anchors(config)
  if anchors != ours:
    raise ValueError(f"{file.path}: rpn_cls_score scores {anchors} anchors per cell, but "
                     f"model.anchor_scales and model.anchor_ratios make {ours}: {_ADVICE}")
  pixels = _outputs(file, "mask_pred")
  if pixels != config.mask_size**2:
    raise ValueError(f"{file.path}: mask_pred predicts {pixels} pixels "
                     f"({math.isqrt(pixels)} x {math.isqrt(pixels)}), but model.mask_size is "
                     f"{config.mask_size}: {_ADVICE}")
  for field in ("roi_grid", "mask_resize", "inclusive_corners", "partial_cells", "anchor_scales",
                "anchor_ratios"):
    found, wanted = getattr(config, field), getattr(release().model, field)
    if found != wanted:
      raise ValueError(f"{file.path} holds {KIND}, whose weights mean model.{field} {wanted}, "
                       f"found {found}: {_ADVICE}")


def _check_shapes(file, config):
  """Rejects layers that do not fit the ones before them, and shared ones of different shapes."""
  _compare_shapes(file, config, _head_shapes(file, config))
  for layer in SHARED:
    for part in (0, 1):
      again = file.arrays.get(f"{layer}_ext/{part}")
      own = file.arrays[f"{layer}/{part}"].shape
      if again is not None and tuple(again.shape) != tuple(own):
        raise ValueError(f"{file.path} has {layer}_ext/{part} with shape {again.shape}, but it "
                         f"shares {layer}/{part} with shape {own}")


def _compare_shapes(file, config, shapes):
  for layer, expected in shapes.items():
    for name, shape in ((f"{layer}/0", expected), (f"{layer}/1", expected[:1])):
      found = tuple(file.arrays[name].shape)
      if found != shape:
        raise ValueError(f"{file.path} has {name} with shape {found}, but after the layers "
                         f"before it, and with model.roi_size {config.roi_size}, {KIND} has "
                         f"shape {shape}")


def _backbone_shapes(file):
  """Returns {convolution: shape of its weights} by the outputs of the one before each."""
  inputs = (3, *(_outputs(file, layer) for layer in _BACKBONE))
  return {layer: (_outputs(file, layer), count, 3, 3)
          for layer, count in zip(_BACKBONE, inputs[:-1], strict=True)}


def _head_shapes(file, config):
  """Returns {other layer: shape of its weights} by the outputs of the layers before each."""
  outputs = lambda layer: _outputs(file, layer)
  inputs = outputs(_BACKBONE[-1])
  hidden, anchors = outputs("rpn_conv_3x3"), _count_anchors(config)
  joined, categories = outputs("fc7_mask") + outputs("fc7"), outputs("cls_score")
  cells, pooled = config.roi_size**2, (config.roi_size // 2)**2
  return {
      "rpn_conv_3x3": (hidden, inputs, 3, 3),
      "rpn_cls_score": (2 * anchors, hidden, 1, 1),
      "rpn_bbox_pred": (4 * anchors, hidden, 1, 1),
      "fc6_maskest": (outputs("fc6_maskest"), inputs * cells),
      "mask_pred": (config.mask_size**2, outputs("fc6_maskest")),
      **{f"fc6{path}": (outputs(f"fc6{path}"), inputs * pooled) for path in ("", "_mask")},
      **{f"fc7{path}": (outputs(f"fc7{path}"), outputs(f"fc6{path}")) for path in ("", "_mask")},
      "cls_score": (categories, joined), "seg_cls_score": (categories, joined),
      "bbox_pred": (4 * categories, joined)}


def _outputs(file, layer):
  return (*file.arrays[f"{layer}/0"].shape, 0)[0]


def _count_anchors(config):
  return len(config.anchor_scales) * len(config.anchor_ratios)


def _shared(file, name):
  """Returns an array of the file; if the file repeats it, reading compares the two."""
  own, again = file.arrays[name], file.arrays.get(name.replace("/", "_ext/"))
  if again is None:
    return own

  def read():
    array = own.read()
    if not np.array_equal(array, again.read()):
      raise ValueError(f"{file.path}: {name.replace('/', '_ext/')} differs from {name}, but stages "
                       "4 and 5 of the model share the weights of 2 and 3")
    return array

  return Lazy(own.shape, read)


def _convert(layer, weights, bias, channels, config):
  """Returns kernel and bias of a layer in our layout."""
  if layer in _BACKBONE or layer in ("rpn_conv_3x3", "rpn_bbox_pred"):
    return conversion.convolution(weights), bias
  if layer == "rpn_cls_score":
    return _classes_last(conversion.convolution(weights)), _classes_last(bias)
  if layer.startswith("fc6"):
    return conversion.dense_on_map(weights, channels), bias
  if layer == "bbox_pred":
    return (_divide(conversion.dense(weights), config.box_delta_stds),
            _divide(bias, config.box_delta_stds))
  return conversion.dense(weights), bias


def _classes_last(lazy):
  """Orders outputs by anchor, then class; the release has all background scores first."""
  def read():
    array = lazy.read()
    return array.reshape(*array.shape[:-1], 2, -1).swapaxes(-1, -2).reshape(array.shape)
  return Lazy(lazy.shape, read)


def _divide(lazy, stds):
  """Divides outputs, four per category, by what the release multiplied them with."""
  def read():
    return (lazy.read() / np.tile(stds, lazy.shape[-1] // 4)).astype(np.float32)
  return Lazy(lazy.shape, read)
