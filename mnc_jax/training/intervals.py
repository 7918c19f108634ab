"""When something that is done every so many steps is due."""

from mnc_jax.config import TrainConfig


def is_due(step: int, every: int, options: TrainConfig) -> bool:
  """Says whether something done each `every` steps (0: never) is due; at the last step all is."""
  return step == options.num_steps or (every > 0 and step % every == 0)
