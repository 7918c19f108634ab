"""Weights from elsewhere than a run's checkpoints: pretrained trunks, and models as one file."""

import pathlib
from typing import NamedTuple
import zipfile

from flax import traverse_util
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

# Convolutions of each block (Simonyan & Zisserman 2015, configuration D).
_VGG16_DEPTHS = (2, 2, 3, 3, 3)
_DTYPES = ("float32", "float16", "bfloat16")


class Report(NamedTuple):
  """What became of each parameter, by paths like `features/conv1_1/kernel`.

  Attributes:
    loaded: taken from the file.
    initialised: kept as it was, because the file does not have it.
    left_over: in the file, but not in the model.
  """
  loaded: tuple
  initialised: tuple
  left_over: tuple

  def __str__(self):
    return (f"{len(self.loaded)} arrays loaded, {len(self.initialised)} newly initialised "
            f"({_top_names(self.initialised)}), {len(self.left_over)} of the file left over"
            + (f" ({_top_names(self.left_over)})" if self.left_over else ""))


def load_pretrained(params, path):
  """Puts weights of a file into `params`: a VGG-16 trunk (.npz) or a model (.safetensors).

  Args:
    params: from `init_params`.
    path: the file.

  Returns:
    `(params, Report)`.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it cannot be read, is of another kind, or does not fit.
  """
  suffix = pathlib.Path(path).suffix
  if suffix == ".npz":
    return load_trunk(params, path)
  if suffix == ".safetensors":
    return _merge(params, load_safetensors(path)[0], path)
  raise ValueError(f"{path}: pretrained weights are .npz (VGG-16 trunk) or .safetensors (model)")


def load_trunk(params, path):
  """Puts the VGG-16 convolutions of `load_vgg16_npz` into `params["features"]`.

  Args:
    params: from `init_params` with `model.trunk` "vgg16".
    path: the .npz file.

  Returns:
    `(params, Report)`; other parameters are the arrays that were given.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if the file or the trunk is not VGG-16, naming the layer and both shapes.
  """
  convolutions = load_vgg16_npz(path)
  missing = sorted(set(convolutions) - set(params["features"]))
  if missing:
    raise ValueError(f"{path} holds VGG-16, but the model's trunk has no {', '.join(missing)}: "
                     'set model.trunk to "vgg16"')
  return _merge(params, {"features": convolutions}, path)


def load_vgg16_npz(path) -> dict:
  """Reads the convolutions of VGG-16 from arrays `block<b>_conv<l>_W` and `..._b`.

  The kernels are the Oxford group's: for blue, green, red from 0 to 255 minus
  `config.model.pixel_mean_bgr`, which is the trunk's business, not this function's.

  Args:
    path: .npz file with kernels [3, 3, in, out] (HWIO) and biases [out].

  Returns:
    {"conv1_1": {"kernel", "bias"}, ... "conv5_3"}, float32.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it cannot be read or lacks a layer, naming all that are missing.
  """
  arrays = _read_npz(path)
  layers = {f"conv{block}_{layer}": f"block{block}_conv{layer}"
            for block, depth in enumerate(_VGG16_DEPTHS, start=1) for layer in range(1, depth + 1)}
  wanted = [f"{name}_{part}" for name in layers.values() for part in "Wb"]
  missing = [name for name in wanted if name not in arrays]
  if missing:
    raise ValueError(f"{path} lacks {len(missing)} of the {len(wanted)} arrays of VGG-16's "
                     f"convolutions: {', '.join(missing)}")
  return {ours: {"kernel": arrays[f"{theirs}_W"].astype(np.float32),
                 "bias": arrays[f"{theirs}_b"].astype(np.float32)}
          for ours, theirs in layers.items()}


def save_safetensors(path, params, metadata, *, dtype="float32") -> None:
  """Writes a model as one file.

  Args:
    path: of the file; its folder is made if it is missing.
    params: nested dict of float32 arrays.
    metadata: {str: str}, for example the config as JSON.
    dtype: "float32" keeps every bit; "float16" and "bfloat16" round and halve the file.

  Raises:
    ValueError: if the dtype is another one, or rounding to it leaves a value infinite.
  """
  if dtype not in _DTYPES:
    raise ValueError(f"dtype {dtype!r} is none of {', '.join(_DTYPES)}")
  flat = {name: np.ascontiguousarray(_as_dtype(name, np.asarray(leaf), dtype))
          for name, leaf in traverse_util.flatten_dict(params, sep="/").items()}
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  save_file(flat, path, metadata=dict(metadata))


def load_safetensors(path):
  """Reads what `save_safetensors` wrote.

  Args:
    path: of the file.

  Returns:
    `(params, metadata)`: nested dict of float32 numpy arrays, {str: str}.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it cannot be read.
  """
  _check_is_file(path)
  try:
    with safe_open(path, framework="numpy") as file:
      flat = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
      metadata = file.metadata() or {}
  except (SafetensorError, OSError) as error:
    raise ValueError(f"{path} cannot be read as safetensors: {error}") from error
  return traverse_util.unflatten_dict(flat, sep="/"), metadata


def _merge(params, loaded, path):
  """Returns `params` with the arrays of `loaded` in their place, and a `Report`."""
  ours = traverse_util.flatten_dict(params, sep="/")
  theirs = traverse_util.flatten_dict(loaded, sep="/")
  common = [name for name in ours if name in theirs]
  for name in common:
    if ours[name].shape != theirs[name].shape:
      raise ValueError(f"{path} has {name} with shape {theirs[name].shape}, but the model's has "
                       f"shape {ours[name].shape}")
  if not common:
    raise ValueError(f"{path} has no parameter of the model; it holds {_top_names(theirs)}")
  merged = {name: theirs.get(name, leaf) for name, leaf in ours.items()}
  report = Report(tuple(common), tuple(name for name in ours if name not in theirs),
                  tuple(name for name in theirs if name not in ours))
  return traverse_util.unflatten_dict(merged, sep="/"), report


def _read_npz(path):
  _check_is_file(path)
  try:
    with np.load(path) as file:
      return dict(file)
  except (ValueError, OSError, EOFError, zipfile.BadZipFile, TypeError) as error:
    raise ValueError(f"{path} cannot be read as .npz: {error}") from error


def _check_is_file(path):
  if not pathlib.Path(path).is_file():
    raise FileNotFoundError(f"{path}: no such file")


def _as_dtype(name, array, dtype):
  with np.errstate(over="ignore"):
    rounded = array.astype(jnp.dtype(dtype))
  if np.isinf(rounded).any() and not np.isinf(array).any():
    raise ValueError(f"{name} has values beyond {dtype}")
  return rounded


def _top_names(paths):
  return ", ".join(sorted({path.split("/")[0] for path in paths})) or "none"
