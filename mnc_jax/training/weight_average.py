"""The exponential moving average of the weights (Polyak and Juditsky 1992)."""

import jax
import jax.numpy as jnp
import optax

from mnc_jax.config import Config
from mnc_jax.structs import Array


def start_average(params: dict, config: Config) -> dict | None:
  """Returns the average before the first step, a float32 copy of `params`; None without one."""
  if not config.train.average_decay:
    return None
  # A step donates the buffers of both trees, so they cannot share any.
  return jax.tree.map(lambda x: jnp.array(x, jnp.float32), params)


def move_average(average: dict | None, params: dict, opt_state: optax.OptState, step: Array, *,
                 config: Config) -> dict | None:
  """Returns the average after a step; that of parameters that do not change stays as it is.

  The decay of an update after n others is min(average_decay, (1 + n) / (10 + n)), as in
  TensorFlow's `ExponentialMovingAverage` with `num_updates`: a short run forgets its first weights
  too. Steps that only accumulate gradients do not move the average.

  Args:
    average: before the step, or None.
    params: after the step.
    opt_state: after the step.
    step: [] number of steps before this one.
    config: of the run.
  """
  if average is None:
    return None
  accumulates = isinstance(opt_state, optax.MultiStepsState)
  updates = opt_state.gradient_step - 1 if accumulates else step
  # 1 - decay in float64: in float32, 1 - 0.9999 would be wrong from the fourth digit on.
  rate = jnp.maximum(1 - config.train.average_decay, 9 / (10 + updates)).astype(jnp.float32)
  if accumulates:
    rate = jnp.where(opt_state.mini_step == 0, rate, 0.0)
  return jax.tree.map(lambda old, new: old + rate * (new - old), average, params)
