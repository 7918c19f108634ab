"""Files of weights of every format: damaged, with odd arrays, or unpacking to gigabytes."""

import functools
import io
import json
import pathlib
import pickle
import random
import struct
import tempfile
import zipfile

import h5py
import jax
import numpy as np
from safetensors.numpy import save

from helpers.caffe_messages import make_net
from helpers.release_files import named_arrays, random_layers
from mnc_jax.config import ModelConfig
from mnc_jax.weights import load_pretrained, match_file, open_file
from mutations.damage import damage_bytes
from mutations.outcomes import Family, require

CONFIG = ModelConfig(
    num_categories=3, dense_width=8, mask_hidden=4, mask_size=21, roi_grid="caffe",
    mask_resize="bilinear", inclusive_corners=True, partial_cells=True)
_LIMIT = 2**29  # Numbers. No array that is read may have more.


@functools.cache
def _layers():
  return random_layers(backbone=2, dense=8, hidden=4, categories=3)


@functools.cache
def _arrays():
  return named_arrays(_layers())


def write_npz(path, arrays, rng):
  """As numpy; half of them compressed."""
  with path.open("wb") as file:
    rng.choice((np.savez, np.savez_compressed))(file, **arrays)


def write_hdf5(path, arrays, rng, *, prefix="data/"):
  """As Caffe; half of them in packed chunks."""
  with h5py.File(path, "w") as file:
    for name, array in arrays.items():
      packed = array.ndim and array.size and array.dtype.kind in "iuf" and rng.random() < 0.3
      file.create_dataset(prefix + name, data=array, **({"compression": "gzip"} if packed else {}))


def write_safetensors(path, arrays, rng):
  """Without metadata."""
  del rng
  path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def write_caffemodel(path, arrays, rng):
  """As Caffe, today or in 2014."""
  layers = {}
  for name in arrays:
    layers.setdefault(name.split("/")[0], []).append(arrays[name])
  # The form of 2014 has four sides.
  old = rng.random() < 0.3 and max(array.ndim for array in arrays.values()) <= 4
  path.write_bytes(make_net(layers, old=old, packed=rng.random() < 0.7)
                   .SerializeToString())


def write_torch(path, arrays, rng):
  """As PyTorch, in a zip file or as before 1.6."""
  import torch
  torch.save({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, path,
             _use_new_zipfile_serialization=rng.random() < 0.7)


def _odd_arrays(rng, arrays):
  """Returns the arrays with one of another shape, type or value, one missing, or one too many."""
  arrays = dict(arrays)
  name = rng.choice(list(arrays))
  array = arrays[name]
  arrays[rng.choice((name, name, name, name + "_", "extra/0"))] = rng.choice((
      array[..., None], array.ravel(), array.T, array[:0], array * np.nan, array / np.float32(0.0),
      array.astype(np.float64) * 1e300, array.astype(np.int8), np.float32(3), array * 0))
  if rng.random() < 0.3:
    del arrays[rng.choice(list(arrays))]
  return arrays


class _Trap:
  """Would end the process with a status of its own if it were unpickled."""

  def __reduce__(self):
    return exec, ("import os; os._exit(77)",)


def _zip_bomb(method):
  """An npz whose first array says (3,) and has a gigabyte behind it."""
  head = io.BytesIO()
  np.save(head, np.ones(3, np.float32))
  made = io.BytesIO()
  with zipfile.ZipFile(made, "w", method) as archive, archive.open("conv1_1/0.npy", "w") as file:
    file.write(head.getvalue())
    for _ in range(64):
      file.write(bytes(2**22))
  return made.getvalue()


def _npy_claim():
  """An npz whose header claims a terabyte."""
  made = io.BytesIO()
  with zipfile.ZipFile(made, "w") as archive:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (500000, 500000), }"
    archive.writestr("conv1_1/0.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header)
  return made.getvalue()


def _hdf5_bomb(folder, kind):
  """Chunks that unpack to gigabytes, numbers that are in no chunk, or in another file."""
  path = folder / "made"
  with h5py.File(path, "w") as file:
    if kind == "chunks":
      made = file.create_dataset("data/a/0", (2**30,), "f4", chunks=(2**22,), compression="gzip")
      for place in range(4):
        made[place * 2**22:(place + 1) * 2**22] = 0
    elif kind == "nothing":
      file.create_dataset("data/a/0", (2**40,), "f4", chunks=(2**20,))
    elif kind == "external":
      (folder / "secret").write_bytes(bytes(4000))
      file.create_dataset("data/a/0", (1000,), "f4", external=[(str(folder / "secret"), 0, 4000)])
    else:
      file["data/a/0"] = h5py.ExternalLink(str(folder / "other"), "a")
      file["data/b/0"] = h5py.SoftLink("/data/b/0")
  return path.read_bytes()


def _hostile(rng, folder):
  """Files that no library should be let loose on."""
  header = rng.choice((
      {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}},
      {"a": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 0]}},
      {"a": {"dtype": "F32", "shape": [1], "data_offsets": [2**60, 2**60 + 4]}}))
  packed = json.dumps(header).encode()
  return rng.choice((
      lambda: _zip_bomb(zipfile.ZIP_DEFLATED), lambda: _zip_bomb(zipfile.ZIP_BZIP2), _npy_claim,
      *(functools.partial(_hdf5_bomb, folder, kind)
        for kind in ("chunks", "nothing", "external", "links")),
      lambda: struct.pack("<Q", len(packed)) + packed + bytes(4),
      lambda: struct.pack("<Q", rng.choice((2**63, 2**33, 5))) + b"{" + bytes(99),
      lambda: struct.pack("<Q", 200_000) + b"{\"a\":" + b"[" * 199_995,
      lambda: pickle.dumps(_Trap()), lambda: pickle.dumps(_Trap(), protocol=0),
      lambda: _torch_trap(folder)))()


def _torch_trap(folder):
  import torch
  torch.save({"a": _Trap()}, folder / "made")
  return (folder / "made").read_bytes()


def _write(writer, rng, folder):
  path, way = folder / "a.weights", rng.randrange(12)
  if way == 0:
    path.write_bytes(_hostile(rng, folder))
  elif way <= 4:
    writer(path, _odd_arrays(rng, _arrays()), rng)
  else:
    writer(path, _arrays(), rng)
    path.write_bytes(damage_bytes(rng, path.read_bytes()))
  return path.name


@functools.cache
def _wanted():
  """The parameters of the release's small model, as shapes."""
  with tempfile.TemporaryDirectory() as place:
    path = pathlib.Path(place, "sound")
    write_npz(path, _arrays(), random.Random(0))
    arrays = match_file(open_file(path), CONFIG).arrays
  tree = {}
  for name, lazy in arrays.items():
    *stages, leaf = name.split("/")
    holder = tree
    for stage in stages:
      holder = holder.setdefault(stage, {})
    holder[leaf] = jax.ShapeDtypeStruct(lazy.shape, np.float32)
  return tree


def read(folder):
  """Reads every array of the file, then loads it as a run would."""
  file = open_file(folder / "a.weights")
  arrays = {name: lazy.read() for name, lazy in file.arrays.items()}
  for name, array in arrays.items():
    require(array.dtype == np.float32, f"{name} is {array.dtype}")
    require(array.shape == tuple(file.arrays[name].shape), f"{name} has another shape than claimed")
    require(array.size <= _LIMIT, f"{name} has {array.size} numbers")
  return load_pretrained(_wanted(), folder / "a.weights", config=CONFIG)


def check(found):
  """All parameters are there, in the model's shapes, float32 and finite."""
  params, report = found
  leaves, wanted = jax.tree.leaves(params), jax.tree.leaves(_wanted())
  require(jax.tree.structure(params) == jax.tree.structure(_wanted()), "another tree")
  require(not report.initialised, f"{report.initialised} are missing")
  for leaf, like in zip(leaves, wanted, strict=True):
    require(isinstance(leaf, np.ndarray) and leaf.dtype == np.float32, "a leaf that was not read")
    require(leaf.shape == like.shape and np.isfinite(leaf).all(), "a wrong shape or number")


WEIGHTS = {
    name: Family(functools.partial(_write, writer), read, check)
    for name, writer in (
        ("npz", write_npz), ("caffe_hdf5", write_hdf5), ("hdf5", functools.partial(
            write_hdf5, prefix="")), ("safetensors", write_safetensors),
        ("caffemodel", write_caffemodel), ("torch", write_torch))}
