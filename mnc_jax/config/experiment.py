"""The whole experiment as one value."""

from collections.abc import Sequence
import dataclasses

from mnc_jax.config.data import DataConfig
from mnc_jax.config.inference import InferenceConfig
from mnc_jax.config.model import ModelConfig
from mnc_jax.config.section import Section
from mnc_jax.config.train import TrainConfig


@dataclasses.dataclass(frozen=True)
class Config(Section):
  """The whole experiment: model, data, training and inference."""

  model: ModelConfig = ModelConfig()
  data: DataConfig = DataConfig()
  train: TrainConfig = TrainConfig()
  inference: InferenceConfig = InferenceConfig()


def with_categories(config: Config, names: Sequence[str]) -> Config:
  """Returns `config` for a data set with these category names, background not among them.

  Args:
    config: with `config.model.num_categories` 0 or already right.
    names: of the categories; their number and one make C.

  Returns:
    The config with `config.model.num_categories` = C.

  Raises:
    ValueError: if `config.model.num_categories` is set and does not fit.

  Example:
    >>> import mnc_jax
    >>> mnc_jax.with_categories(mnc_jax.Config(), ["cat", "dog"]).model.num_categories
    3
  """
  count = len(names) + 1
  if config.model.num_categories not in (0, count):
    raise ValueError(
        f"config.model.num_categories is {config.model.num_categories} (background included), but "
        f"the data set has {len(names)} categories and background. Leave it 0 to follow the data.")
  return dataclasses.replace(
      config, model=dataclasses.replace(config.model, num_categories=count))
