"""Benchmark of loading weights: VGG-16 with its dense layers from a file into a model."""

import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from safetensors.numpy import save_file

from benchmarks.model import process_peak
import mnc_jax
from mnc_jax import weights
from mnc_jax.config import Config, ModelConfig
from mnc_jax.model.backbones.vgg16 import VGG16_LAYERS
from mnc_jax.model.parameters import init_params

# Where torchvision's numbering of convolutions, ReLUs and poolings has the convolutions.
_TORCH_NUMBERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def measure(options, torch_side):
  """Measures time and peak memory of each format, in a process per format."""
  del torch_side  # torchvision has no cascade to load weights into.
  rows, notes = [], []
  layers = make_layers(options.dense_width)
  for name, write in (("caffemodel", write_caffemodel), ("safetensors", write_safetensors),
                      ("pth", write_torch)):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / f"vgg16.{name}"
      try:
        write(path, layers)
      except ImportError:
        notes.append(f"{name}: PyTorch is not installed")
        continue
      notes.append(f"{name}: {path.stat().st_size / 1e6:.0f} MB")
      figures = import_in_new_process(path, options.dense_width, options.mask_hidden)
    rows += [{"name": f"{name}: {what}", "mnc_jax": value, "torchvision": None}
             for what, value in figures.items()]
  return rows, [*notes, "A process per format, from starting Python and JAX to a whole model, "
                "with what is not in the file initialised."]


def make_layers(width: int) -> dict:
  """Returns {Caffe's name: (kernel [out, in, ...], bias)} of random numbers."""
  pool = np.random.default_rng(0).standard_normal(99_991, np.float32)
  layers = {layer.name: (layer.outputs, (layer.inputs, 3, 3)) for layer in VGG16_LAYERS}
  layers |= {"fc6": (width, (512 * 49,)), "fc7": (width, (width,)), "fc8": (1000, (width,))}
  return {name: (np.resize(pool, (outputs, *shape)), np.resize(pool, outputs))
          for name, (outputs, shape) in layers.items()}


def write_caffemodel(path: pathlib.Path, layers) -> None:
  """Writes a NetParameter layer by layer."""
  with path.open("wb") as file:
    for name, arrays in layers.items():
      blobs = [(_bytes_field(7, b"".join(_varint_field(1, side) for side in array.shape)), array)
               for array in arrays]
      heads = [shape + _key(5) + _varint(array.nbytes) for shape, array in blobs]
      heads = [_key(7) + _varint(len(head) + array.nbytes) + head
               for head, (_, array) in zip(heads, blobs, strict=True)]
      title = _bytes_field(1, name.encode())
      size = len(title) + sum(len(head) for head in heads) + sum(a.nbytes for a in arrays)
      file.write(_key(100) + _varint(size) + title)
      for head, array in zip(heads, arrays, strict=True):
        file.write(head)
        array.tofile(file)


def _varint(value):
  return (struct.pack("B", value & 0x7F | 0x80) + _varint(value >> 7) if value > 0x7F else
          struct.pack("B", value))


def _key(number):
  return _varint(number << 3 | 2)


def _bytes_field(number, content):
  return _key(number) + _varint(len(content)) + content


def _varint_field(number, value):
  return _varint(number << 3) + _varint(value)


def torch_arrays(layers) -> dict:
  """Returns {torchvision's name: array}."""
  names = [*(f"features.{number}" for number in _TORCH_NUMBERS),
           "classifier.0", "classifier.3", "classifier.6"]
  return {f"{name}.{part}": array for name, arrays in zip(names, layers.values(), strict=True)
          for part, array in zip(("weight", "bias"), arrays, strict=True)}


def write_safetensors(path: pathlib.Path, layers) -> None:
  """Writes torchvision's arrays as a .safetensors file."""
  save_file(torch_arrays(layers), path)


def write_torch(path: pathlib.Path, layers) -> None:
  """Writes a state dict.

  Raises:
    ImportError: if PyTorch is not installed.
  """
  import torch
  torch.save({name: torch.from_numpy(array) for name, array in torch_arrays(layers).items()}, path)


def import_in_new_process(path: pathlib.Path, width: int, mask_hidden: int) -> dict:
  """Runs `import_file` in a new process; returns its figures and those of the process."""
  start = time.perf_counter()
  # The library of this process, also if it is not installed.
  root = str(pathlib.Path(mnc_jax.__file__).parents[1])
  paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
  finished = subprocess.run([sys.executable, __file__, str(path), str(width), str(mask_hidden)],
                            env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE,
                            text=True, check=True)
  return {"whole process, s": time.perf_counter() - start, **json.loads(finished.stdout)}


def import_file(path: pathlib.Path, width: int, mask_hidden: int) -> dict:
  """Loads a file into a model of these widths; returns seconds and the peak of this process."""
  config = Config(model=ModelConfig(
      num_categories=21, dense_width=width, mask_hidden=mask_hidden))
  params = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
  start = time.perf_counter()
  params, _ = weights.load_pretrained(params, path, config=config.model)
  loaded = time.perf_counter()
  jax.block_until_ready(weights.initialise_missing(params, jax.random.key(0), config))
  return {"reading, s": loaded - start, "initialising the rest, s": time.perf_counter() - loaded,
          "peak memory, GB": process_peak() / 1e9}


if __name__ == "__main__":
  print(json.dumps(import_file(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))))
