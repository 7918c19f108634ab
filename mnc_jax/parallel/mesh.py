"""Data parallelism over a mesh of all devices of all hosts.

State is replicated, a batch is split over the devices along its first axis, gradients are
averaged: N devices with B images each take the step of one device with N * B images.
"""

from collections.abc import Callable
from typing import Any, TypeVar
import zlib

import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

from mnc_jax.parallel.hosts import check_same, process_count

Tree = TypeVar("Tree")
AXIS = "data"
REPLICATED, SHARDED = PartitionSpec(), PartitionSpec(AXIS)
WHOLE = -1  # The axis of what is not cut into parts.


def make_mesh() -> Mesh:
  """Returns the mesh of all devices of all hosts, with one axis, `AXIS`."""
  # By host, so that each host's rows of a batch are adjacent, as `process_slice` of the
  # data pipeline cuts them.
  devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
  return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicate(tree: Tree, mesh: Mesh) -> Tree:
  """Returns `tree` as global arrays, of which each device holds a copy.

  Args:
    tree: arrays on the host or a device, the same on all hosts.
    mesh: from `make_mesh`.

  Raises:
    ValueError: if `tree` differs between hosts.
  """
  return place(tree, mesh, REPLICATED)


def place(tree: Tree, mesh: Mesh, specs: Any) -> Tree:
  """Returns `tree` as global arrays, of which each device holds the part that `specs` gives it.

  Args:
    tree: whole arrays on the host or a device, the same on all hosts.
    mesh: from `make_mesh`.
    specs: a `PartitionSpec` for each array, or one for a part of the tree.

  Raises:
    ValueError: if `tree` differs between hosts.
  """
  tree = jax.tree.map(np.asarray, jax.device_get(tree))
  if process_count() > 1:
    check_same(_checksum(tree), "weights with checksum ")
  put = lambda spec, part: jax.tree.map(lambda x: jax.make_array_from_process_local_data(
      NamedSharding(mesh, spec), x, x.shape), part)
  return jax.tree.map(put, specs, tree)


def _checksum(tree):
  checksum = 0
  for leaf in jax.tree.leaves(tree):
    checksum = zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data, checksum)
  return checksum


def to_host(tree: Any) -> Any:
  """Returns arrays on the host or devices as whole numpy arrays; all hosts must call it.

  Parts that only other hosts hold are gathered, over the memory of the devices.
  """
  gather = lambda x: multihost_utils.process_allgather(x, tiled=True)
  is_spread = lambda x: isinstance(x, jax.Array) and not (
      x.is_fully_addressable or x.is_fully_replicated)
  tree = jax.tree.map(lambda x: gather(x) if is_spread(x) else x, tree)
  return jax.tree.map(np.asarray, jax.device_get(tree))


def put_batch(tree: Tree, mesh: Mesh) -> Tree:
  """Returns this host's rows of a batch as part of global arrays, split over the devices.

  Args:
    tree: numpy arrays [B / hosts, ...].
    mesh: from `make_mesh`.

  Returns:
    Arrays [B, ...]. The rows of process 0 come first.

  Raises:
    ValueError: if B is not a multiple of the number of devices.
  """
  images = len(jax.tree.leaves(tree)[0]) * process_count()
  if images % mesh.size:
    raise ValueError(
        f"a batch of {images} images cannot be divided over {mesh.size} devices: "
        "set data.batch_size to a multiple")
  return jax.make_array_from_process_local_data(NamedSharding(mesh, SHARDED), tree)


def local_rows(tree: Tree) -> Tree:
  """Returns this host's rows of global arrays as numpy arrays; the inverse of `put_batch`."""
  def local_shards(x):
    return [shard.data for shard in sorted(
        x.addressable_shards, key=lambda shard: shard.index[0].start or 0)]

  shards = jax.device_get(jax.tree.map(local_shards, tree))
  return jax.tree.map(np.concatenate, shards, is_leaf=lambda x: isinstance(x, list))


def data_parallel(function: Callable, mesh: Mesh, *, inputs: tuple[Any, ...],
                  outputs: Any, donate: int | tuple[int, ...] = ()) -> Callable:
  """Compiles a function of one device's share of a batch into one of global arrays.

  Args:
    function: may use collectives over `AXIS`.
    mesh: from `make_mesh`.
    inputs: per argument `REPLICATED` (from `replicate`), `SHARDED` (from `put_batch`), or a tree
      of such (from `place`).
    outputs: the same of the result. What is replicated must be equal on all devices.
    donate: indices of the arguments whose buffers the results reuse; the caller loses them.
  """
  # Without the check of varying axes, `jax.grad` inside is that of the device's own loss. With it,
  # gradients of replicated parameters would come out summed over the devices.
  mapped = jax.shard_map(
      function, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False)
  # With shardings, JAX rejects a host's rows that are taken for the whole batch.
  return jax.jit(mapped, donate_argnums=donate,
                 in_shardings=jax.tree.map(lambda spec: NamedSharding(mesh, spec), inputs))


def weighted_mean(tree: Tree, weight: jax.Array, *, dtype: str | None = None, axes: Any = None
                  ) -> Tree:
  """Returns the mean of `tree` over devices by their weights; zeros if all weigh 0.

  Args:
    tree: of this device.
    weight: of this device, not negative.
    dtype: in which the devices exchange and add their terms; None, or on one device: that of
      `tree`. With "bfloat16" each term, and each sum of some of them, has a relative error of at
      most 2^-9.
    axes: a tree like `tree` of the axis along which the mean of each array is cut, so that each
      device receives its part alone; `WHOLE` where it is not cut. None: nowhere.
  """
  total = jnp.maximum(jax.lax.psum(weight, axis_name=AXIS), 1)
  axes = jax.tree.map(lambda x: WHOLE, tree) if axes is None else axes
  return jax.tree.map(
      lambda x, axis: _sum_over_devices(x * weight, dtype, axis).astype(x.dtype) / total,
      tree, axes)


def _sum_over_devices(term, dtype, axis):
  exchanged = term if dtype is None or jax.lax.axis_size(AXIS) == 1 else term.astype(dtype)
  if axis == WHOLE:
    return jax.lax.psum(exchanged, axis_name=AXIS)
  return jax.lax.psum_scatter(exchanged, AXIS, scatter_dimension=axis, tiled=True)
