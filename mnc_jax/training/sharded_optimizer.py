"""The optimiser's state divided over the devices (Rajbhandari et al. 2020, "ZeRO", section 5.1).

Each device keeps the state of a part of each large array, cut along one axis. It receives the
mean gradient of that part alone (reduce-scatter), updates the part, and all gather the new
weights. Put together, the parts are the arrays of a run that is not divided, so checkpoints of
both are the same. An average of the weights is whole on each device, like the weights.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from mnc_jax import parallel
from mnc_jax.config import Config
from mnc_jax.model.parameters import init_params
from mnc_jax.structs import Array, Batch
from mnc_jax.training.step import (
  TrainState,
  init_state,
  trained_gradients,
  update_average,
  update_state,
)


def split_axis(shape: tuple[int, ...], parts: int) -> int:
  """Returns the longest axis that can be cut into equal parts, the first of equals.

  `parallel.WHOLE` if there is none, and for vectors, which are small.
  """
  if len(shape) < 2:
    return parallel.WHOLE
  axes = [axis for axis, size in enumerate(shape) if size % parts == 0]
  return max(axes, key=lambda axis: shape[axis], default=parallel.WHOLE)


def state_specs(config: Config, mesh: Mesh) -> TrainState:
  """Returns how each array of a training state is divided over the devices.

  All are replicated; of `opt_state`, those that can be cut are divided if
  `train.shard_optimizer`.
  """
  def spec(leaf):
    axis = split_axis(leaf.shape, mesh.size)
    return parallel.REPLICATED if axis == parallel.WHOLE else PartitionSpec(
        *[None] * axis, parallel.AXIS)

  whole: Any = parallel.REPLICATED
  opt_state = whole
  if config.train.shard_optimizer:
    init = lambda: init_state(init_params(jax.random.key(0), config), config).opt_state
    opt_state = jax.tree.map(spec, jax.eval_shape(init))
  return TrainState(whole, whole, opt_state, whole)


def sharded_train_step(state: TrainState, batch: Batch, key: Array, *, config: Config
                       ) -> tuple[TrainState, dict[str, Array]]:
  """Takes the step of `train_step` on one of several devices, with its part of the optimiser.

  Args:
    state: before the step, with this device's part of `opt_state`; see `state_specs`.
    batch: this device's images and ground truth.
    key: of this step's sampling on this device.
    config: static.

  Returns:
    `(state, metrics)` as of `train_step` with `parallel.weighted_mean`, to rounding.
  """
  gradients, metrics = trained_gradients(state.params, batch, key, config=config)
  devices = jax.lax.axis_size(parallel.AXIS)
  # None for frozen arrays, as in the gradients: they are neither sent nor updated.
  axes = jax.tree.map(lambda x: split_axis(x.shape, devices), gradients)
  real_images = batch.real.sum()
  metrics = parallel.weighted_mean(metrics, real_images)
  gradients = parallel.weighted_mean(
      gradients, real_images, dtype=config.train.gradient_exchange_dtype, axes=axes)
  part = state._replace(params=jax.tree.map(_take_part, state.params, axes))
  part, metrics = update_state(
      part, gradients, metrics, config=config, norm=_global_norm(gradients, axes))
  whole = part._replace(params=jax.tree.map(_join_parts, part.params, axes))
  return update_average(whole, config), metrics


def _take_part(x, axis):
  if axis in (None, parallel.WHOLE):
    return x
  size = x.shape[axis] // jax.lax.axis_size(parallel.AXIS)
  start = size * jax.lax.axis_index(parallel.AXIS)
  return jax.lax.dynamic_slice_in_dim(x, start, size, axis)


def _join_parts(x, axis):
  return x if axis in (None, parallel.WHOLE) else jax.lax.all_gather(
      x, parallel.AXIS, axis=axis, tiled=True)


def _global_norm(gradients, axes):
  """Returns the norm of all gradients, of which each device has its parts and what is whole."""
  def squares(cut):
    return sum((jnp.sum(jnp.square(x)) for x, axis in zip(
        jax.tree.leaves(gradients), jax.tree.leaves(axes), strict=True)
                if (axis != parallel.WHOLE) == cut), jnp.zeros(()))

  return jnp.sqrt(jax.lax.psum(squares(True), axis_name=parallel.AXIS) + squares(False))
