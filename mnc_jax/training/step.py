"""One training step as a pure function of state, batch and key."""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mnc_jax.config import Config
from mnc_jax.model.cascade import cascade_loss
from mnc_jax.structs import Array, Batch
from mnc_jax.training.optimizer import learning_rate, make_optimizer, parameter_groups
from mnc_jax.training.weight_average import move_average, start_average


class TrainState(NamedTuple):
  """What a run carries from step to step.

  Attributes:
    step: [] int32, number of steps done.
    params: the weights.
    opt_state: of `make_optimizer(config)`.
    average: of the weights of all steps so far, float32; None without `train.average_decay`.
  """
  step: Array
  params: dict
  opt_state: optax.OptState
  average: dict | None = None

  @property
  def evaluated(self) -> dict:
    """The weights of the model: the average if there is one, else `params`."""
    return self.params if self.average is None else self.average


def init_state(params: dict, config: Config) -> TrainState:
  """Returns the initial training state for `params`.

  Args:
    params: from `init_params`, or pretrained. The state refers to them, without a copy.
    config: `config.train` chooses the optimizer, and whether there is an average.

  Returns:
    The state at step 0.

  Example:
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> state = mnc_jax.init_state({"features": {"kernel": jnp.ones(4)}}, mnc_jax.Config())
    >>> print(state.step, state.params["features"]["kernel"])
    0 [1. 1. 1. 1.]
  """
  return TrainState(jnp.zeros((), jnp.int32), params, make_optimizer(config).init(params),
                    start_average(params, config))


def train_step(state: TrainState, batch: Batch, key: Array, *, config: Config,
               mean_over_devices: Callable | None = None) -> tuple[TrainState, dict[str, Array]]:
  """Trains all stages together for one step.

  Args:
    state: before the step.
    batch: images and ground truth.
    key: of this step's sampling.
    config: static under `jax.jit`.
    mean_over_devices: `parallel.weighted_mean` if the batch is split over devices.

  Returns:
    `(state, metrics)`. Metrics are float32 scalars: those of `cascade_loss`, `gradient_norm` before
    clipping, `learning_rate`.

  Degenerate input:
    All losses of a batch of padding are 0; weight decay and momentum still apply. Non-finite
    numbers reach the metrics; `check_finite` reports them.

  Example:
    >>> import functools
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> from mnc_jax.config import Config, ModelConfig, TrainConfig
    >>> model = ModelConfig(num_categories=3, backbone="small", backbone_widths=(8, 8),
    ...                     box_stage_width=8, mask_hidden=8, dense_width=8)
    >>> config = Config(model=model, train=TrainConfig(num_stages=3, rois_per_image=8))
    >>> batch = mnc_jax.Batch(
    ...     images=jnp.full((1, 64, 64, 3), 90, jnp.uint8), image_sizes=jnp.array([[64, 64]]),
    ...     boxes=jnp.array([[[8.0, 8.0, 40.0, 40.0]]]), labels=jnp.array([[1]]),
    ...     masks=jnp.ones((1, 1, 112, 112), jnp.uint8), areas=jnp.array([[1024.0]]),
    ...     crowd=jnp.array([[False]]), valid=jnp.array([[True]]))
    >>> key_params, key_sampling = jax.random.split(jax.random.key(0))
    >>> init = jax.jit(mnc_jax.init_params, static_argnames="config")
    >>> state = mnc_jax.init_state(init(key_params, config=config), config)
    >>> # The initial mask loss is log 2: each pixel is object or background with equal probability.
    >>> step = jax.jit(functools.partial(mnc_jax.train_step, config=config))
    >>> state, metrics = step(state, batch, key_sampling)
    >>> print(state.step, f"{metrics['loss_2']:.2f}")
    1 0.69
  """
  gradients, metrics = trained_gradients(state.params, batch, key, config=config)
  if mean_over_devices is not None:
    # Padding images may be spread unevenly over devices.
    real_images = batch.real.sum()
    metrics = mean_over_devices(metrics, real_images)
    gradients = mean_over_devices(
        gradients, real_images, dtype=config.train.gradient_exchange_dtype)
  state, metrics = update_state(
      state, gradients, metrics, config=config, norm=optax.tree.norm(gradients))
  return update_average(state, config), metrics


def trained_gradients(params: dict, batch: Batch, key: Array, *, config: Config
                      ) -> tuple[dict, dict[str, Array]]:
  """Returns the gradients of `cascade_loss`, and its metrics.

  Of frozen parameters, whatever module they are in, none is computed or sent to other devices: the
  gradients, like `params`, have None there.
  """
  trained = jax.tree.map(lambda x, group: None if group == "frozen" else x,
                         params, parameter_groups(params, config))

  def loss(trained):
    filled = jax.tree.map(lambda x, part: x if part is None else part, params, trained)
    return cascade_loss(filled, batch, key, config=config)

  return jax.grad(loss, has_aux=True)(trained)


def update_state(state: TrainState, gradients: dict, metrics: dict[str, Array], *, config: Config,
                 norm: Array) -> tuple[TrainState, dict[str, Array]]:
  """Returns the state after the optimiser's step, and the metrics with those of the optimiser.

  Its average is that of before; `update_average` moves it.

  Args:
    state: before the step, or parts of its arrays.
    gradients: of `trained_gradients`, like `state.params`.
    metrics: of `cascade_loss`.
    config: chooses the optimizer.
    norm: [] of the gradients; if these are parts, of the whole.
  """
  rate = jnp.asarray(learning_rate(config.train)(state.step), jnp.float32)
  optimizer = make_optimizer(config, norm=norm, step=state.step)
  gradients = jax.tree.map(lambda x, gradient: jnp.zeros_like(x) if gradient is None else gradient,
                           state.params, gradients)
  updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
  params = cast(dict, optax.apply_updates(state.params, updates))
  return (state._replace(step=state.step + 1, params=params, opt_state=opt_state),
          metrics | {"gradient_norm": norm, "learning_rate": rate})


def update_average(state: TrainState, config: Config) -> TrainState:
  """Returns the state of `update_state`, with whole arrays, after its average is moved too."""
  return state._replace(average=move_average(
      state.average, state.params, state.opt_state, state.step - 1, config=config))


def step_key(seed: int, step: int | Array, device: int | Array) -> Array:
  """Returns the key of a step on a device.

  That of step 0 on device 0 is one of those that `init_params` makes of the same seed, for the
  backbone. They draw different things, and another derivation would change every seeded run.
  """
  root = jax.random.key(seed)
  return jax.random.fold_in(jax.random.fold_in(root, step), device)


class NotFiniteError(FloatingPointError):
  """A loss or gradient is not finite.

  Attributes:
    step: the number of the step.
  """

  def __init__(self, step: int, terms: str):
    super().__init__(
        f"training stopped at step {step}: {terms}. Lower train.learning_rate, set train.clip_norm "
        "(for example 10), or lengthen train.warmup_steps. The last checkpoint is from before.")
    self.step = step


def check_finite(step: int, metrics: dict) -> None:
  """Raises if a loss or the gradient is not finite.

  Args:
    step: of these metrics.
    metrics: of `train_step`, on the host.

  Raises:
    NotFiniteError: naming the step and the terms.
  """
  bad = [f"{name} = {float(value)}" for name, value in sorted(metrics.items())
         if not np.isfinite(value)]
  if bad and np.isfinite(metrics.get("gradient_norm", np.nan)):
    # `cascade_loss` marks them so.
    bad.append("with a finite gradient, as of labels outside 1 ... C - 1")
  if bad:
    raise NotFiniteError(step, ", ".join(bad))
