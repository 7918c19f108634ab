"""The trained models that the options of a command name."""

from collections.abc import Callable

from mnc_jax.cli.commands import TrainedModel
from mnc_jax.cli.parse import UsageError, usage_errors
from mnc_jax.coco.categories import check_same_categories
from mnc_jax.config import Config
from mnc_jax.config.validation import check_overrides
from mnc_jax.training.trained_model import Model, load


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
  if (options.workdir is None) == (options.weights is None):
    raise UsageError("give either --workdir DIR or --weights NAME|FILE")
  paths = [options.workdir or options.weights, *options.ensemble]
  models = []
  for path in paths:
    model = load(path)
    with usage_errors():
      config = override(model.config)
      check_overrides(model.config, config)
    models.append(model._replace(config=config))
    _check_member(path, models[-1], paths[0], models[0])
  return models


def _check_member(path, model, first_path, first):
  """Rejects a model whose candidates mean something else, or that needs other pixels."""
  where = f"{path} cannot join {first_path} in an ensemble"
  check_same_categories(model.category_names, first.category_names, first=f"{where}: it",
                        second=str(first_path))
  for section, field in (("model", "mask_size"), ("data", "stretch_contrast")):
    theirs, ours = (getattr(getattr(one.config, section), field) for one in (model, first))
    if theirs != ours:
      raise ValueError(
          f"{where}: its {section}.{field} is {theirs}, that of the first model {ours}")
