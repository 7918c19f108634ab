"""One training step as a pure function of state, batch and key."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from mnc_jax.cascade import cascade_loss
from mnc_jax.config import Config, TrainConfig
from mnc_jax.stages.features import frozen_layers
from mnc_jax.structs import Array, Batch


class TrainState(NamedTuple):
  """All that a run carries from step to step.

  Attributes:
    step: [] int32, steps done.
    params: the weights.
    opt_state: of `make_optimizer(config)`.
  """
  step: Array
  params: dict
  opt_state: optax.OptState


def learning_rate(config: TrainConfig) -> optax.Schedule:
  """Returns the rate as a function of the step: warm-up, then steps of ten or a cosine."""
  if config.schedule == "cosine":
    after = optax.cosine_decay_schedule(
        config.learning_rate, max(config.num_steps - config.warmup_steps, 1))
  else:
    # Boundaries count from the start of the run, join_schedules from the end of warm-up.
    after = optax.piecewise_constant_schedule(
        config.learning_rate, {step - config.warmup_steps: 0.1 for step in config.decay_steps})
  warmup = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
  return optax.join_schedules([warmup, after], [config.warmup_steps])


def _decayed(params, *, config: Config):
  """Which parameters are decayed: not biases and scales (release), not what is frozen."""
  frozen = frozen_layers(config.model)

  def is_decayed(path, value):
    return value.ndim > 1 and not any(part.key in frozen for part in path)

  return jax.tree_util.tree_map_with_path(is_decayed, params)


def make_optimizer(config: Config) -> optax.GradientTransformation:
  """Returns SGD with momentum (paper, section 4) or AdamW, with clipping if asked for."""
  options, rate = config.train, learning_rate(config.train)
  decayed = functools.partial(_decayed, config=config)
  clip = optax.clip_by_global_norm(options.clip_norm) if options.clip_norm else optax.identity()
  if options.optimizer == "adamw":
    rule = optax.adamw(rate, weight_decay=options.weight_decay, mask=decayed)
  else:
    rule = optax.chain(optax.add_decayed_weights(options.weight_decay, mask=decayed),
                       optax.sgd(rate, momentum=options.momentum))
  return optax.chain(clip, rule)


def init_state(params, config: Config) -> TrainState:
  """Returns the state before the first step: these weights, and an optimiser that has seen none.

  Args:
    params: from `init_params`, or pretrained.
    config: of the run; `config.train` chooses the optimiser.
  """
  return TrainState(jnp.zeros((), jnp.int32), params, make_optimizer(config).init(params))


def train_step(state: TrainState, batch: Batch, key, *, config: Config, mean_over_devices=None):
  """Takes one step of all stages together.

  Args:
    state: before the step.
    batch: images and ground truth.
    key: of this step's sampling.
    config: static under `jax.jit`.
    mean_over_devices: averages a tree over devices, given this device's weight;
      `parallel.py` passes it.

  Returns:
    `(state, metrics)`. Metrics are float32 scalars: `loss`, `loss_1` ... `loss_5`,
    `gradient_norm` before clipping, `learning_rate`. Non-finite numbers are not hidden:
    `check_finite` finds them at the next log step.
  """
  gradient = jax.grad(cascade_loss, has_aux=True)
  gradients, metrics = gradient(state.params, batch, key, config=config)
  if mean_over_devices is not None:
    # Images that only fill up the batch may be spread unevenly.
    real_images = jnp.sum(batch.image_sizes[:, 0] > 0)
    gradients, metrics = mean_over_devices((gradients, metrics), real_images)
  metrics["gradient_norm"] = optax.tree.norm(gradients)
  metrics["learning_rate"] = jnp.asarray(learning_rate(config.train)(state.step), jnp.float32)
  optimizer = make_optimizer(config)
  updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  return TrainState(state.step + 1, params, opt_state), metrics


def eval_step(params, batch: Batch, key, *, config: Config, mean_over_devices=None):
  """Returns the losses of all stages on a batch, without a step.

  Arguments and metrics are those of `train_step`; of the metrics, the losses alone. Anchors
  and RoIs are sampled as in training, so that the numbers compare.
  """
  _, metrics = cascade_loss(params, batch, key, config=config)
  if mean_over_devices is not None:
    metrics = mean_over_devices(metrics, jnp.sum(batch.image_sizes[:, 0] > 0))
  return metrics


def step_key(seed: int, step, device):
  """Returns the key of one step on one device: a function of the three, nothing is stored."""
  root = jax.random.key(seed)
  return jax.random.fold_in(jax.random.fold_in(root, step), device)


def check_finite(step: int, metrics) -> None:
  """Stops a run whose loss or gradient is not finite.

  Args:
    step: of these metrics.
    metrics: of `train_step`, on the host.

  Raises:
    FloatingPointError: naming the step and the terms.
  """
  bad = [f"{name} = {float(value)}" for name, value in sorted(metrics.items())
         if not jnp.isfinite(value)]
  if bad:
    raise FloatingPointError(
        f"training stopped at step {step}: {', '.join(bad)}. Lower train.learning_rate, set "
        "train.clip_norm (for example 10), or lengthen train.warmup_steps. The last checkpoint is "
        "from before this step.")
