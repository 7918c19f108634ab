"""Files like the authors' released model, every layer at random values."""

import types

import h5py
import numpy as np

from helpers.vgg_files import CHANNELS, LAYERS
from mnc_jax.weights import Lazy
from mnc_jax.weights.architectures.release import SHARED


def random_layers(*, backbone=None, dense=64, hidden=32, categories=21, mask_size=21, anchors=9,
                  seed=0):
  """Returns {layer: (weights, bias)} in Caffe's order, such that activations are of order 1.

  Args:
    backbone: channels of all convolutions, or None for those of VGG-16.
    dense: width of fc6 and fc7.
    hidden: width of fc6_maskest.
    categories: background included.
    mask_size: side of a mask.
    anchors: per cell.
    seed: of the numbers.
  """
  rng = np.random.default_rng(seed)
  layers, inputs = {}, 3
  def add(name, *shape, scale=2.0, shift=0.0):
    std = np.sqrt(scale / np.prod(shape[1:]))
    layers[name] = (rng.normal(scale=std, size=shape).astype(np.float32),
                    (rng.normal(scale=0.1, size=shape[0]) + shift).astype(np.float32))
  for block, layer in LAYERS:
    outputs = backbone or CHANNELS[block]
    # Pixels are of order 70.
    add(f"conv{block}_{layer}", outputs, inputs, 3, 3, scale=2.0 if inputs > 3 else 1 / 70**2)
    inputs = outputs
  width = backbone or 512
  add("rpn_conv_3x3", width, inputs, 3, 3)
  add("rpn_cls_score", 2 * anchors, width, 1, 1, scale=1.0)
  # Anchors of 128 to 512 pixels shrink to what fits a small image.
  add("rpn_bbox_pred", 4 * anchors, width, 1, 1, scale=0.02,
      shift=np.tile([0, 0, -1.6, -1.6], anchors))
  add("fc6_maskest", hidden, inputs * 14 * 14)
  add("mask_pred", mask_size**2, hidden, scale=8.0)
  for path in ("", "_mask"):
    add(f"fc6{path}", dense, inputs * 7 * 7)
    add(f"fc7{path}", dense, dense)
  add("cls_score", categories, 2 * dense, scale=8.0)
  # Background wins for some.
  add("seg_cls_score", categories, 2 * dense, scale=4.0, shift=7.0 * (np.arange(categories) == 0))
  add("bbox_pred", 4 * categories, 2 * dense, scale=0.004)
  return layers


def named_arrays(layers, *, repeat=False):
  """Returns {"<layer>/<0 or 1>": array}; with `repeat` also the `_ext` layers, as copies."""
  names = {name: name for name in layers} | (
      {f"{name}_ext": name for name in SHARED} if repeat else {})
  return {f"{name}/{part}": layers[source][part].copy()
          for name, source in names.items() for part in (0, 1)}


def write_h5(path, layers, *, repeat=False):
  """Writes a .caffemodel.h5 as Caffe does: `data/<layer>/<part>`, groups of shared layers empty."""
  with h5py.File(path, "w") as file:
    for name in (*layers, *(f"{name}_ext" for name in SHARED)):
      file.create_group(f"data/{name}")
    for name, array in named_arrays(layers, repeat=repeat).items():
      file[f"data/{name}"] = array


def in_memory(arrays):
  """Returns named arrays as a file; `reads` counts them."""
  reads = []
  def lazy(name, array):
    return Lazy(array.shape, lambda: reads.append(name) or array)
  return types.SimpleNamespace(
      path="release.caffemodel.h5", reads=reads,
      arrays={name: lazy(name, array) for name, array in arrays.items()})

