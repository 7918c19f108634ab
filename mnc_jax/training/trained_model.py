"""A trained model, loaded from a workdir or a file."""

import pathlib
from typing import NamedTuple

import jax

from mnc_jax import weights
from mnc_jax.config import Config
from mnc_jax.model.cascade import init_params
from mnc_jax.training import checkpoint
from mnc_jax.weights.tree import check_fit


class Model(NamedTuple):
  """A trained model, wherever it came from; `notes` tell its source and numbers to check."""
  params: dict
  config: Config
  category_names: tuple[str, ...]
  category_ids: tuple[int, ...]
  notes: dict


def load(name) -> Model:
  """Loads a shipped model by its name, a `.safetensors` file, or the last checkpoint of a workdir.

  Raises:
    FileNotFoundError, ValueError: saying what is missing or does not fit.
  """
  shipped = pathlib.Path(__file__).parents[1] / "pretrained" / f"{name}.safetensors"
  if isinstance(name, str) and shipped.is_file():
    return _load_file(shipped)
  path = pathlib.Path(name).expanduser()
  if path.is_file() and path.suffix != ".safetensors":
    raise ValueError(f"{path} is neither a workdir nor a .safetensors file")
  return _load_file(path) if path.suffix == ".safetensors" else _load_checkpoint(path)


def _load_checkpoint(workdir):
  params, config, categories = checkpoint.load_params(workdir)
  return Model(params, config, *categories, checkpoint.load_notes(workdir))


def _load_file(weights_file):
  params, metadata = weights.load_safetensors(weights_file)
  missing = {"config", "category_names", "category_ids"} - set(metadata)
  if missing:
    raise ValueError(f"{weights_file} holds weights but not {', '.join(sorted(missing))}: write it "
                     "with mnc export")
  config = weights.read_config(metadata, weights_file)
  like = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
  check_fit(like, params, str(weights_file))
  return Model(params, config, *weights.read_categories(metadata, weights_file),
               weights.read_notes(metadata, weights_file))
