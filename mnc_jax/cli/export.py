"""mnc export: writes a trained model as one file."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from mnc_jax import weights
from mnc_jax.cli.commands import Export
from mnc_jax.cli.models import choose_source
from mnc_jax.cli.parse import UsageError
from mnc_jax.config.serialization import to_json, without_paths
from mnc_jax.model.trained import Model
from mnc_jax.training.checkpoint import describe_source
from mnc_jax.training.trained_model import load
from mnc_jax.weights.self_check import record_numbers

_ENDINGS = {".safetensors": "safetensors", ".zip": "stablehlo"}
_OTHERS = 'ONNX and SavedModel are not written: see "What else was tried" in docs/deploy.md'


def run(options: Export) -> None:
  """Loads the model and writes it in the format that the options or the file name ask for."""
  source, file_format = choose_source(options.workdir, options.weights), choose_format(options)
  model = load(source)
  model = model._replace(notes={"source": describe_source(model.notes)})
  if file_format == "stablehlo":
    weights.save_programs(options.output, model, dtype=options.dtype)
  else:
    save_weights(options.output, model, options.dtype)
  print(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB")


def choose_format(options: Export) -> str:
  """Returns --format, or the format that the ending of --output stands for.

  Raises:
    UsageError: if neither gives one that exists, or they contradict each other, or the format
      lacks the dtype.
  """
  name, implied = options.output.name, _ENDINGS.get(options.output.suffix.lower())
  chosen = options.format or implied
  if chosen is None:
    raise UsageError(f"--output {name}: give a name that ends in {' or '.join(_ENDINGS)}, or "
                     f"--format. {_OTHERS}")
  if chosen not in _ENDINGS.values():
    raise UsageError(f"--format {chosen}: give {' or '.join(_ENDINGS.values())}. {_OTHERS}")
  if chosen == "safetensors" and implied is None:
    raise UsageError(f"--output {name}: mnc_jax recognises models by the ending .safetensors")
  if implied not in (None, chosen):
    raise UsageError(f"--output {name} ends as files of {implied}, but --format is {chosen}")
  if chosen == "stablehlo" and options.dtype == "bfloat16":
    raise UsageError("--dtype bfloat16 is only for safetensors: the weights beside programs are "
                     "NumPy files, which have no such type; float16 is as small")
  return chosen


def save_weights(path: pathlib.Path, model: Model, dtype: str) -> None:
  """Writes weights, config, category names, origin and numbers for --self-check."""
  weights.save_safetensors(path, model.params, {
      "config": to_json(without_paths(model.config)),
      "category_names": json.dumps(list(model.category_names)),
      "category_ids": json.dumps([int(i) for i in model.category_ids]),
      "notes": json.dumps({
          **model.notes,
          "self_check": record_numbers(rounded(model.params, dtype), model.config)}),
  }, dtype=dtype)


def rounded(params: dict, dtype: str) -> dict:
  """Returns the weights as they will be read from the file."""
  return jax.tree.map(lambda x: np.asarray(x).astype(jnp.dtype(dtype)).astype(np.float32), params)
