"""What differs between the config of a run so far and the one that it resumes with."""

from collections.abc import Iterator
import contextlib
import dataclasses

import numpy as np

from mnc_jax.config import Config
from mnc_jax.config.serialization import differing_fields
from mnc_jax.training.optimizer import learning_rate
from mnc_jax.weights.tree import FitError

# Fields that only a new run reads, and what is said if they change.
_START = ("train.init_weights", "train.init_reset_categories", "train.init_only_backbone",
          "model.pixel_mean_bgr")
_WITHOUT_EFFECT = (" (no effect: the run resumes with its own weights; another --workdir starts a "
                   "new one)")
# Fields that decide which arrays weights and optimiser states have; all that begin so.
OF_WEIGHTS = ("model.",)
OF_STATES = (*OF_WEIGHTS, "train.optimizer", "train.accumulate_steps")


@contextlib.contextmanager
def name_changes_in_errors(saved: Config, config: Config, fields: tuple[str, ...]
                           ) -> Iterator[None]:
  """Adds to a `FitError` the changes of the fields that begin with one of `fields`."""
  try:
    yield
  except FitError as error:
    lines = list_changes(saved, config, fields=fields)
    if not lines:
      raise
    raise FitError("\n".join([
        f"{error} Fields that decide on its arrays have changed since it was saved:", *lines]
        )) from error


def list_changes(saved: Config, config: Config, *, fields: tuple[str, ...] = ("",)) -> list[str]:
  """Returns a line per field that differs and whose name begins with one of `fields`."""
  return [f"  {name}: {was!r} -> {now!r}" + (_WITHOUT_EFFECT if name in _START else "")
          for name, was, now in differing_fields(saved, config) if name.startswith(fields)]


def keep_start(saved: Config, config: Config) -> Config:
  """Returns the `config` that a run resumes with, and of its start what `saved` says.

  Else `config.json` would name weights, or a mean of the pixels, that the run never had.
  """
  for section, _, name in (field.partition(".") for field in _START):
    kept = {name: getattr(getattr(saved, section), name)}
    config = dataclasses.replace(
        config, **{section: dataclasses.replace(getattr(config, section), **kept)})
  return config


def describe_changes(saved: Config, config: Config, step: int) -> str:
  """Returns which fields differ from the run's so far, and its rate, to continue a sentence.

  Args:
    saved: config of the last save.
    config: of the run that resumes.
    step: that it resumes from.

  Returns:
    Text with a line per field; "" if all are equal.
  """
  lines = list_changes(saved, config)
  if not lines:
    return ""
  rates = [float(np.asarray(learning_rate(one.train)(step))) for one in (saved, config)]
  if rates[0] != rates[1]:
    lines.append(f"  learning rate of the next step: {rates[0]:.3g} -> {rates[1]:.3g}")
  return ", with another config than it was saved with:\n" + "\n".join(lines)
