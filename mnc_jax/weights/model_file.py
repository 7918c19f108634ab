"""Our own models as one .safetensors file: written, read whole, and matched for loading."""

from collections.abc import Iterator, Mapping
import contextlib
import json
import os
import pathlib

from flax import traverse_util
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from mnc_jax.config import ModelConfig
from mnc_jax.weights.conversion import MatchedWeights
from mnc_jax.weights.formats.lazy import WeightsFile
from mnc_jax.weights.formats.safetensors_file import read_safetensors

_STAGES = ("features/", "box_stage/", "mask_stage/", "category_stage/")
_DTYPES = ("float32", "float16", "bfloat16")
# What reports call a file that `save_safetensors` wrote.
OWN_KIND = "a model of mnc_jax"


def save_safetensors(path: str | pathlib.Path, params: dict, metadata: Mapping[str, str], *,
                     dtype: str = "float32") -> None:
  """Writes a model as one file.

  Args:
    path: of the file; its folder is made if it is missing. An existing file is replaced at the end.
    params: nested dict of float32 arrays.
    metadata: {str: str}, for example the config as JSON.
    dtype: "float32" keeps every bit; "float16" and "bfloat16" round and halve the file.

  Raises:
    ValueError: if the dtype is another one, or rounding to it leaves a value infinite.
    OSError: if the file cannot be written.
  """
  flat, path = flatten_weights(params, dtype=dtype), pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  try:
    with replace_file(path) as part:
      part.touch()
      mode = part.stat().st_mode
      save_file(flat, part, metadata=dict(metadata))
      # safetensors 0.8 makes a file that its owner alone may read.
      part.chmod(mode)
  except (SafetensorError, OSError) as error:
    raise OSError(f"{path} cannot be written: {error}") from error


@contextlib.contextmanager
def replace_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields the path of a new file that takes the place of `path` when it is complete."""
  part = path.with_name(f"{path.name}.part")
  try:
    yield part
    os.replace(part, path)
  finally:
    part.unlink(missing_ok=True)


def flatten_weights(params: dict, *, dtype: str = "float32") -> dict[str, np.ndarray]:
  """Returns {path in the tree: array} of the weights, rounded to a type.

  Args:
    params: nested dict of float32 arrays.
    dtype: "float32", "float16" or "bfloat16".

  Raises:
    ValueError: if the dtype is another one, or rounding to it leaves a value infinite.
  """
  if dtype not in _DTYPES:
    raise ValueError(f"dtype is {dtype!r}, but must be one of {', '.join(_DTYPES)}")
  return {name: np.ascontiguousarray(_as_dtype(name, np.asarray(leaf), dtype))
          for name, leaf in traverse_util.flatten_dict(params, sep="/").items()}


def load_safetensors(path: str | pathlib.Path) -> tuple[dict, dict[str, str]]:
  """Reads what `save_safetensors` wrote.

  Args:
    path: of the file.

  Returns:
    `(params, metadata)`: nested dict of float32 numpy arrays, {str: str}.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it cannot be read.
  """
  arrays, metadata = _open(path)
  flat = {name: lazy.read() for name, lazy in arrays.items()}
  return traverse_util.unflatten_dict(flat, sep="/"), metadata


def read_metadata(path: str | pathlib.Path) -> dict[str, str]:
  """Returns the metadata of a .safetensors file, of any library, without reading its arrays.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it cannot be read.
  """
  return _open(path)[1]


def _open(path):
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"{path}: no such file")
  return read_safetensors(path)


def match(file: WeightsFile, config: ModelConfig) -> MatchedWeights | None:
  """Matches a file that `save_safetensors` wrote, of a model or some of its stages.

  Args:
    file: of any format.
    config: the model.

  Returns:
    All its arrays, also those of stages that the model does not have; None if it is no such file.

  Raises:
    ValueError: if the file's config names another backbone than the model's.
  """
  if file.container != "safetensors" or not any(
      name.startswith(_STAGES) for name in file.arrays):
    return None
  backbone = _backbone_name(file.metadata)
  if backbone not in (None, config.backbone):
    raise ValueError(f'{file.path} holds a model with model.backbone "{backbone}", but here it is '
                     f'"{config.backbone}": set it to that, or use other weights')
  return MatchedWeights(OWN_KIND, dict(file.arrays), (), whole_stages=True)


def _backbone_name(metadata):
  """Returns the backbone in the config of the file; None if there is no such entry."""
  try:
    return json.loads(metadata["config"])["model"]["backbone"]
  except (KeyError, TypeError, ValueError, RecursionError):
    return None


def _as_dtype(name, array, dtype):
  with np.errstate(over="ignore"):
    rounded = array.astype(jnp.dtype(dtype))
  if np.isinf(rounded).any() and not np.isinf(array).any():
    raise ValueError(f"{name} has values beyond {dtype}")
  return rounded
