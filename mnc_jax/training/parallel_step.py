"""The training step over all devices: on a mesh, and as a `jax.pmap`."""

from collections.abc import Callable
import dataclasses
import functools

import jax
from jax.sharding import Mesh

from mnc_jax import parallel
from mnc_jax.config import Config, DataConfig, TrainConfig
from mnc_jax.model.cascade import cascade_loss
from mnc_jax.training.sharded_optimizer import sharded_train_step, state_specs
from mnc_jax.training.step import TrainState, step_key, train_step

# Fields of `train` that only the loop around the step reads.
_BOOKKEEPING = (
    "init_weights", "init_reset_categories", "init_only_backbone", "log_every", "checkpoint_every",
    "evaluate_every", "hang_minutes", "evaluate_images", "patience", "log_to", "profile_steps")


def make_train_step(config: Config, mesh: Mesh) -> Callable:
  """Returns `step(state, batch) -> (state, metrics)`, compiled over all devices of the mesh.

  `state` comes from `place_state` and is donated; `batch` comes from `parallel.put_batch`.
  The key of each device follows from `train.seed`, the step and the device's index alone.

  Configs that differ in what no step depends on share one function, so that a run that is resumed
  in the same process, as in a notebook, is not compiled again.
  """
  return _compile_train_step(_without_bookkeeping(config), mesh)


def _without_bookkeeping(config):
  """Returns `config` with defaults where no step depends on it."""
  unused = _BOOKKEEPING + (("num_steps",) if config.train.schedule == "step" else ())
  defaults = {name: getattr(TrainConfig, name) for name in unused}
  return dataclasses.replace(
      config, data=DataConfig(), train=dataclasses.replace(config.train, **defaults))


# Each holds a compiled program per bucket.
@functools.lru_cache(maxsize=4)
def _compile_train_step(config: Config, mesh: Mesh):
  specs = state_specs(config, mesh)
  return parallel.data_parallel(
      functools.partial(_device_step, config=config), mesh,
      inputs=(specs, parallel.SHARDED), outputs=(specs, parallel.REPLICATED), donate=0)


def place_state(state: TrainState, config: Config, mesh: Mesh) -> TrainState:
  """Returns a state as global arrays on the devices, as `make_train_step` takes it.

  Raises:
    ValueError: if `state` differs between hosts.
  """
  return parallel.place(state, mesh, state_specs(config, mesh))


def _device_step(state, batch, *, config):
  key = step_key(config.train.seed, state.step, jax.lax.axis_index(parallel.AXIS))
  if config.train.shard_optimizer:
    return sharded_train_step(state, batch, key, config=config)
  return train_step(state, batch, key, config=config, mean_over_devices=parallel.weighted_mean)


def make_pmapped_train_step(config: Config) -> Callable:
  """Returns the training step as a `jax.pmap` over all devices, for loops built on pmap.

  The computation and the random numbers are those of `make_train_step`, which `mnc train` uses.
  Tests hold the results bit-equal without compiler optimizations; with them, the reuse of donated
  buffers may change the rounding.

  Args:
    config: of the run.

  Returns:
    `step(state, batch) -> (state, metrics)`. All arrays have a leading axis of local devices, and
    the buffers of `state` are donated. No key is passed: the key of each device follows from
    `config.train.seed`, the step and the device's index.

  Raises:
    ValueError: with `train.shard_optimizer`, which needs a mesh.

  Example:
    >>> from flax import jax_utils
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> from mnc_jax.config import Config, ModelConfig, TrainConfig
    >>> config = Config(model=ModelConfig(num_categories=3, backbone="small", dense_width=8),
    ...                 train=TrainConfig(num_stages=3))
    >>> n = 2 * jax.local_device_count()
    >>> batch = mnc_jax.Batch(
    ...     images=jnp.full((n, 64, 64, 3), 90, jnp.uint8),
    ...     image_sizes=jnp.full((n, 2), 64), boxes=jnp.full((n, 1, 4), jnp.array([8., 8, 40, 40])),
    ...     labels=jnp.ones((n, 1), jnp.int32), masks=jnp.ones((n, 1, 112, 112), jnp.uint8),
    ...     areas=jnp.full((n, 1), 1024.0), crowd=jnp.zeros((n, 1), bool),
    ...     valid=jnp.ones((n, 1), bool))
    >>> batch = jax.tree.map(lambda x: x.reshape(-1, 2, *x.shape[1:]), batch)
    >>> def start():
    ...   params = mnc_jax.init_params(jax.random.key(0), config)
    ...   return jax_utils.replicate(mnc_jax.init_state(params, config))
    >>> step = mnc_jax.make_pmapped_train_step(config)
    >>> # state, metrics = step(start(), batch) trains; jax_utils.unreplicate(state) is one copy.
    >>> state, metrics = jax.eval_shape(step, jax.eval_shape(start), batch)
    >>> state.step.shape == (jax.local_device_count(),), len(metrics)
    (True, 8)
  """
  if config.train.shard_optimizer:
    raise ValueError("train.shard_optimizer divides the state over a mesh, which a jax.pmap has "
                     "not: set it to False, or train with `mnc train`")
  return jax.pmap(functools.partial(_device_step, config=config), axis_name=parallel.AXIS,
                  donate_argnums=0)


def make_eval_step(config: Config, mesh: Mesh) -> Callable:
  """Returns `step(params, batch) -> metrics`, compiled over all devices.

  The metrics are the losses of `train_step`, and `images`, the number of images that they are the
  mean of. Anchors and RoIs are sampled as in training, so that the numbers are comparable. Configs
  share functions as those of `make_train_step` do.
  """
  return _compile_eval_step(_without_bookkeeping(config), mesh)


@functools.lru_cache(maxsize=4)
def _compile_eval_step(config: Config, mesh: Mesh):
  def step(params, batch):
    key = step_key(config.train.seed, 0, jax.lax.axis_index(parallel.AXIS))
    _, metrics = cascade_loss(params, batch, key, config=config)
    losses = {name: value for name, value in metrics.items() if name.startswith("loss")}
    images = batch.real.sum()
    return parallel.weighted_mean(losses, images) | {
        "images": jax.lax.psum(images, axis_name=parallel.AXIS)}

  return parallel.data_parallel(
      step, mesh, inputs=(parallel.REPLICATED, parallel.SHARDED), outputs=parallel.REPLICATED)
