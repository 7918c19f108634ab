"""A trained model by its place, a workdir or a file, and several of them as an ensemble."""

import argparse
import pathlib

from mnc_jax.cli.options import override
from mnc_jax.coco.categories import first_difference
from mnc_jax.config.validation import check_overrides
from mnc_jax.training.trained_model import Model, load_model


def add_model_options(parser: argparse.ArgumentParser) -> None:
  """Adds the two ways to name a trained model, of which one must be given."""
  place = parser.add_mutually_exclusive_group(required=True)
  place.add_argument("--workdir", type=pathlib.Path, metavar="DIR", help="where mnc train wrote")
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
  def load(workdir, weights_file):
    model = load_model(workdir, weights_file)
    config = override(model.config, overrides, program)
    check_overrides(model.config, config)
    return model._replace(config=config)

  first = load(options.workdir, options.weights)
  models = [first]
  for path in options.ensemble:
    is_file = path.suffix == ".safetensors"
    if path.is_file() and not is_file:
      raise ValueError(f"--ensemble: {path} is neither a workdir nor a .safetensors file")
    models.append(load(None if is_file else path, path if is_file else None))
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
