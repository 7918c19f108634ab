"""mnc export: writes a trained model as one file."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from mnc_jax import weights
from mnc_jax.cli.commands import Export
from mnc_jax.config.serialization import to_json, without_paths
from mnc_jax.training import checkpoint
from mnc_jax.weights.self_check import record_numbers


def run(options: Export) -> None:
  """Loads the last checkpoint and writes weights, config and category names."""
  params, config, categories = checkpoint.load_params(options.workdir)
  weights.save_safetensors(options.output, params, {
      "config": to_json(without_paths(config)),
      "category_names": json.dumps(list(categories.category_names)),
      "category_ids": json.dumps([int(i) for i in categories.category_ids]),
      "notes": json.dumps({
          "source": checkpoint.describe_source(checkpoint.load_notes(options.workdir)),
          "self_check": record_numbers(rounded(params, options.dtype), config)}),
  }, dtype=options.dtype)
  print(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB")


def rounded(params: dict, dtype: str) -> dict:
  """Returns the weights as they will be read from the file."""
  return jax.tree.map(lambda x: np.asarray(x).astype(jnp.dtype(dtype)).astype(np.float32), params)
