"""Our own models as one file: written, read whole, and as a source of weights."""

import json
import pathlib

from flax import traverse_util
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from mnc_jax.config import Config, ModelConfig
from mnc_jax.config.serialization import from_json
from mnc_jax.weights.formats.lazy import WeightsFile
from mnc_jax.weights.formats.safetensors_file import read_safetensors
from mnc_jax.weights.sources import Source

_STAGES = ("features/", "box_stage/", "mask_stage/", "category_stage/")
_DTYPES = ("float32", "float16", "bfloat16")


def save_safetensors(path, params, metadata, *, dtype="float32") -> None:
  """Writes a model as one file.

  Args:
    path: of the file; its folder is made if it is missing.
    params: nested dict of float32 arrays.
    metadata: {str: str}, for example the config as JSON.
    dtype: "float32" keeps every bit; "float16" and "bfloat16" round and halve the file.

  Raises:
    ValueError: if the dtype is another one, or rounding to it leaves a value infinite.
    OSError: if the file cannot be written.
  """
  if dtype not in _DTYPES:
    raise ValueError(f"dtype {dtype!r} is none of {', '.join(_DTYPES)}")
  flat = {name: np.ascontiguousarray(_as_dtype(name, np.asarray(leaf), dtype))
          for name, leaf in traverse_util.flatten_dict(params, sep="/").items()}
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  try:
    save_file(flat, path, metadata=dict(metadata))
  except SafetensorError as error:
    raise OSError(f"{path} cannot be written: {error}") from error


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
  if not pathlib.Path(path).is_file():
    raise FileNotFoundError(f"{path}: no such file")
  arrays, metadata = read_safetensors(path)
  flat = {name: lazy.read() for name, lazy in arrays.items()}
  return traverse_util.unflatten_dict(flat, sep="/"), metadata


def read_config(metadata, origin) -> Config:
  """Returns the config that the metadata of one of our models hold.

  Raises:
    ValueError: if it cannot be read, naming `origin`.
  """
  try:
    return from_json(metadata["config"])
  except (ValueError, TypeError) as error:
    raise ValueError(f"{origin}: its config cannot be read: {error}") from error


def read_categories(metadata, origin):
  """Returns the categories that the metadata of one of our models tell.

  Args:
    metadata: of the file.
    origin: what to call it in messages.

  Returns:
    `(names, ids)`, background not among them; None if no categories are told.

  Raises:
    ValueError: if they cannot be read, or names and ids are not equally many.
  """
  if "category_names" not in metadata:
    return None
  try:
    names = _distinct("category_names", metadata, str)
    ids = _distinct("category_ids", metadata, int)
  except (KeyError, ValueError, RecursionError) as error:
    told = "nested too deep" if isinstance(error, RecursionError) else f"{error!s:.120}"
    raise ValueError(f"{origin} tells no usable category_names and category_ids: {told}; write it "
                     "anew with mnc export") from error
  if len(names) != len(ids):
    raise ValueError(f"{origin} has {len(names)} category_names but {len(ids)} category_ids")
  return names, ids


def _distinct(field, metadata, kind):
  """Returns the entries of a JSON list that are of one kind and differ."""
  values = json.loads(metadata[field])
  if not isinstance(values, list) or any(type(value) is not kind for value in values):
    raise ValueError(f"{field} is no list of {kind.__name__}, but {values!r:.60}")
  if len(set(values)) < len(values):
    raise ValueError(f"{field} has an entry twice: {values!r:.60}")
  return tuple(values)


def read_notes(metadata, origin) -> dict:
  """Returns notes in `metadata` of our models: the source, numbers for the self-check; or {}.

  Raises:
    ValueError: if they are not a JSON object, naming `origin`.
  """
  try:
    notes = json.loads(metadata.get("notes", "{}"))
  except ValueError as error:
    raise ValueError(f"{origin}: its notes are no JSON: {error!s:.120}") from error
  except RecursionError:
    raise ValueError(f"{origin}: its notes are nested too deep") from None
  if not isinstance(notes, dict):
    raise ValueError(f"{origin}: its notes are no JSON object, found {notes!r:.60}")
  return notes


def match(file: WeightsFile, config: ModelConfig) -> Source | None:
  """Finds a model that `save_safetensors` wrote, or some of its stages.

  Args:
    file: of any format.
    config: the model.

  Returns:
    All its arrays, or None if it is no such file. Those of a stage that the model has not are
    told when they find no place.

  Raises:
    ValueError: if the file says that its backbone is another than the model's.
  """
  if file.container != "safetensors" or not any(
      name.startswith(_STAGES) for name in file.arrays):
    return None
  backbone = _backbone_name(file.metadata)
  if backbone not in (None, config.backbone):
    raise ValueError(f'{file.path} holds a model with model.backbone "{backbone}", but here it is '
                     f'"{config.backbone}": set it to that, or take other weights')
  return Source("a model of mnc_jax", dict(file.arrays), (), whole_stages=True)


def _backbone_name(metadata):
  """Returns the backbone that the config in the file names; None if there is no such entry."""
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
