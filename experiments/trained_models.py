"""A trained model by its place, a workdir or a file, and several of them as an ensemble."""

import argparse
import itertools
import pathlib
from typing import NamedTuple

import jax

from command_line import override
from mnc_jax import checkpoint, weights
from mnc_jax.cascade import init_params
from mnc_jax.config import Config
from mnc_jax.config_check import check_overrides
from mnc_jax.tree_shapes import check_fit


class Model(NamedTuple):
  """A trained model, wherever it came from; `notes` tell its source and numbers to check."""
  params: dict
  config: Config
  category_names: tuple[str, ...]
  category_ids: tuple[int, ...]
  notes: dict


def add_model_options(parser: argparse.ArgumentParser) -> None:
  """Adds the two ways to name a trained model, of which one must be given."""
  place = parser.add_mutually_exclusive_group(required=True)
  place.add_argument("--workdir", type=pathlib.Path, metavar="DIR", help="where train.py wrote")
  place.add_argument("--weights", type=pathlib.Path, metavar="FILE", help="a .safetensors model")


def add_ensemble_option(parser: argparse.ArgumentParser) -> None:
  """Adds the models that join the first one."""
  parser.add_argument("--ensemble", type=pathlib.Path, action="append", default=[],
                      metavar="PATH", help="a further model, a workdir or a .safetensors file, "
                      "whose candidates vote together with the first's; it sees the images as that "
                      "does; may be given several times")


def load_models(options, overrides, program: str) -> list[Model]:
  """Loads the model of `add_model_options`, then those of `add_ensemble_option`.

  Args:
    options: parsed, with `workdir`, `weights` and `ensemble`.
    overrides: `--section.field VALUE ...`, applied to all of them.
    program: for the messages of the command line.

  Returns:
    One model or more; data, category ids and the voting are those of the first.

  Raises:
    FileNotFoundError, ValueError: as `load_model`, or if a model does not fit the first.
  """
  first = load_model(options.workdir, options.weights, overrides, program)
  models = [first]
  for path in options.ensemble:
    is_file = path.suffix == ".safetensors"
    if path.is_file() and not is_file:
      raise ValueError(f"--ensemble: {path} is neither a workdir nor a .safetensors file")
    models.append(load_model(None if is_file else path, path if is_file else None, overrides,
                             program))
    _check_member(path, models[-1], options.workdir or options.weights, first)
  return models


def _check_member(path, model, first_path, first):
  """Refuses a model whose candidates mean something else, or that asks for other pixels."""
  where = f"{path} cannot join {first_path} in an ensemble"
  if model.category_names != first.category_names:
    theirs, ours = first_difference(model.category_names, first.category_names)
    raise ValueError(
        f"{where}: it knows {len(model.category_names)} categories and the first model "
        f"{len(first.category_names)}, which differ from {theirs!r} and {ours!r} on")
  for section, field in (("model", "mask_size"), ("data", "stretch_contrast")):
    theirs, ours = (getattr(getattr(one.config, section), field) for one in (model, first))
    if theirs != ours:
      raise ValueError(
          f"{where}: its {section}.{field} is {theirs}, that of the first model {ours}")


def first_difference(names, others):
  """Returns the first pair of entries that differ; None stands where a sequence has ended."""
  pairs = itertools.zip_longest(names, others)
  return next(pair for pair in pairs if pair[0] != pair[1])


def load_model(workdir: pathlib.Path | None, weights_file: pathlib.Path | None, overrides,
               program: str) -> Model:
  """Loads the last checkpoint of a workdir, or else a `.safetensors` file with its config.

  Args:
    workdir: of a run, or None.
    weights_file: if there is no workdir.
    overrides: `--section.field VALUE ...`; they must fit the weights.
    program: for the messages of the command line.

  Raises:
    FileNotFoundError, ValueError: saying what is missing or does not fit.
  """
  model = _load_checkpoint(workdir) if workdir is not None else _load_file(weights_file)
  config = override(model.config, overrides, program)
  check_overrides(model.config, config)
  return model._replace(config=config)


def _load_checkpoint(workdir):
  params, config, categories = checkpoint.load_params(workdir)
  return Model(params, config, *categories, checkpoint.load_notes(workdir))


def _load_file(weights_file):
  params, metadata = weights.load_safetensors(weights_file)
  missing = {"config", "category_names", "category_ids"} - set(metadata)
  if missing:
    raise ValueError(f"{weights_file} holds weights but not {', '.join(sorted(missing))}: write it "
                     "with experiments/export_weights.py")
  config = weights.read_config(metadata, weights_file)
  like = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
  check_fit(like, params, str(weights_file))
  return Model(params, config, *weights.read_categories(metadata, weights_file),
               weights.read_notes(metadata, weights_file))
