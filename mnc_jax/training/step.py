"""One training step as a pure function of state, batch and key."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from mnc_jax import parallel
from mnc_jax.config import Config
from mnc_jax.model.cascade import cascade_loss
from mnc_jax.structs import Array, Batch
from mnc_jax.training.optimizer import learning_rate, make_optimizer


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


def init_state(params, config: Config) -> TrainState:
  """Returns the state before the first step: these weights, and an optimiser that has seen none.

  Args:
    params: from `init_params`, or pretrained.
    config: of the run; `config.train` chooses the optimiser.

  Returns:
    The state at step 0. It refers to `params`, without a copy.

  Degenerate input:
    Frozen parameters have a state of the optimiser too; it has no effect.

  Gradient:
    None: what the optimiser holds starts from zero.

  Example:
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> state = mnc_jax.init_state({"features": {"kernel": jnp.ones(4)}}, mnc_jax.Config())
    >>> print(state.step, state.params["features"]["kernel"])
    0 [1. 1. 1. 1.]
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
    `truncated_proposals_per_image`, `gradient_norm` before clipping, `learning_rate`.

  Degenerate input:
    Of a batch of padding alone all losses are 0; decay and momentum move the weights all the
    same. Non-finite numbers are not hidden: `check_finite` finds them at the next log step.

  Gradient:
    That of `cascade_loss` is taken here; none is meant to flow through a step.

  Example:
    >>> import functools
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> from mnc_jax.config import Config, ModelConfig, TrainConfig
    >>> config = Config(model=ModelConfig(num_categories=3, backbone="small", dense_width=8),
    ...                 train=TrainConfig(num_stages=3))
    >>> batch = mnc_jax.Batch(
    ...     images=jnp.full((1, 64, 64, 3), 90, jnp.uint8), image_sizes=jnp.array([[64, 64]]),
    ...     boxes=jnp.array([[[8.0, 8.0, 40.0, 40.0]]]), labels=jnp.array([[1]]),
    ...     masks=jnp.ones((1, 1, 112, 112), jnp.uint8), areas=jnp.array([[1024.0]]),
    ...     crowd=jnp.array([[False]]), valid=jnp.array([[True]]))
    >>> key_params, key_sampling = jax.random.split(jax.random.key(0))
    >>> init = jax.jit(mnc_jax.init_params, static_argnames="config")
    >>> state = mnc_jax.init_state(init(key_params, config=config), config)
    >>> # Log 2 is the first loss of the masks: each pixel is as likely object as not.
    >>> step = jax.jit(functools.partial(mnc_jax.train_step, config=config))
    >>> state, metrics = step(state, batch, key_sampling)
    >>> print(state.step, f"{metrics['loss_2']:.2f}")
    1 0.69
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
  metrics = {name: value for name, value in metrics.items() if name.startswith("loss")}
  if mean_over_devices is not None:
    metrics = mean_over_devices(metrics, jnp.sum(batch.image_sizes[:, 0] > 0))
  return metrics


def step_key(seed: int, step, device):
  """Returns the key of a step on a device: a function of them and `seed`, nothing is stored."""
  root = jax.random.key(seed)
  return jax.random.fold_in(jax.random.fold_in(root, step), device)


class NotFiniteError(FloatingPointError):
  """Training met a number that is not finite.

  Attributes:
    step: whose loss or gradient it is.
  """

  def __init__(self, step: int, terms: str):
    super().__init__(
        f"training stopped at step {step}: {terms}. Lower train.learning_rate, set train.clip_norm "
        "(for example 10), or lengthen train.warmup_steps. The last checkpoint is from before.")
    self.step = step


def check_finite(step: int, metrics) -> None:
  """Stops a run whose loss or gradient is not finite.

  Args:
    step: of these metrics.
    metrics: of `train_step`, on the host.

  Raises:
    NotFiniteError: naming the step and the terms.
  """
  bad = [f"{name} = {float(value)}" for name, value in sorted(metrics.items())
         if not jnp.isfinite(value)]
  if bad:
    raise NotFiniteError(step, ", ".join(bad))


def make_train_step(config: Config):
  """Returns `step(state, batch) -> (state, metrics)` of `config` over all local devices.

  `state` is replicated and given up to the step (its buffers are reused); `batch` comes
  from `shard`. The key of each device follows from seed, step and device alone.
  """
  def step(state, batch):
    key = step_key(config.train.seed, state.step, jax.lax.axis_index(parallel.AXIS))
    return train_step(state, batch, key, config=config, mean_over_devices=parallel.weighted_mean)

  return parallel.on_all_devices(step, donate_argnums=0)


def make_eval_step(config: Config):
  """Returns `step(params, batch) -> metrics` of `config` over all devices; see `train.eval_step`.

  The metrics have `images` too: how many they are the mean of.
  """
  def step(params, batch):
    key = step_key(config.train.seed, 0, jax.lax.axis_index(parallel.AXIS))
    metrics = eval_step(params, batch, key, config=config, mean_over_devices=parallel.weighted_mean)
    images = jax.lax.psum(jnp.sum(batch.image_sizes[:, 0] > 0), axis_name=parallel.AXIS)
    return metrics | {"images": images}

  return parallel.on_all_devices(step)
