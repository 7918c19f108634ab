"""The trained models that the options of a command name."""

from collections.abc import Callable
import os

from mnc_jax.cli.commands import TrainedModel
from mnc_jax.cli.parse import UsageError, usage_errors
from mnc_jax.config import Config
from mnc_jax.config.validation import check_overrides
from mnc_jax.model.trained import Model, check_members
from mnc_jax.training.trained_model import load


def choose_source(workdir: os.PathLike | None, weights: str | None) -> str | os.PathLike:
  """Returns the one of --workdir and --weights that is given.

  Raises:
    UsageError: if none is, or both.
  """
  if workdir is not None and weights is None:
    return workdir
  if weights is not None and workdir is None:
    return weights
  raise UsageError("give either --workdir DIR or --weights NAME|FILE")


def load_models(options: TrainedModel, override: Callable[[Config], Config]) -> list[Model]:
  """Loads the model that the options name, then those of --ensemble.

  Args:
    options: of the command line.
    override: returns a config changed as the command line asks; applied to each model.

  Returns:
    One model or more; data, category ids and the voting are those of the first.

  Raises:
    UsageError: if not exactly one model is named, or an override does not fit it.
    FileNotFoundError, ValueError: as `load`, or if a model does not fit the first.
  """
  paths = [choose_source(options.workdir, options.weights), *options.ensemble]
  models = []
  for path in paths:
    model = load(path)
    with usage_errors():
      config = override(model.config)
      check_overrides(model.config, config)
    models.append(model._replace(config=config))
  check_members(models, [str(path) for path in paths])
  return models
