"""mnc predict --self-check: whether a model computes here what it computed at its export."""

import jax

from mnc_jax.model.trained import Model
from mnc_jax.training.checkpoint import describe_source
from mnc_jax.weights.self_check import compare_numbers, tolerance


def self_check(model: Model) -> None:
  """Prints how far each stage deviates from the numbers stored with the weights.

  Raises:
    ValueError: if a stage deviates too far, naming the first; or if no numbers are stored.
  """
  stored = model.notes.get("self_check")
  if stored is None:
    raise ValueError("no numbers to compare are stored with these weights: mnc import-weights and "
                     "mnc export write them")
  deviations, limit = compare_numbers(model.params, model.config, stored), tolerance(model.config)
  for name, deviation in deviations.items():
    print(f"{name:24}{deviation:10.1e}  {'ok' if deviation <= limit else 'DIFFERENT'}")
  wrong = [name for name, deviation in deviations.items() if not deviation <= limit]
  device = jax.devices()[0].device_kind
  if wrong:
    raise ValueError(
        f"self-check failed on {device}: {wrong[0]} deviates by {deviations[wrong[0]]:.1e} of its "
        f"largest number (up to {limit:g} is rounding). The installation of jax is broken, or the "
        "weights or config were changed: do not trust its predictions")
  print(f"Self-check passed on {device}. The model: {describe_source(model.notes)}")
