"""Many devices: the only file that knows of them.

State is replicated, the batch is cut into equal slices along its first axis, gradients
are averaged. So N devices with B images each take the step of one device with N * B.
"""

from flax import jax_utils
import jax
import jax.numpy as jnp
import numpy as np

from mnc_jax.parallel.hosts import gather, process_count

AXIS = "devices"


def weighted_mean(tree, weight):
  """Returns the mean of `tree` over all devices, each of which counts `weight` times."""
  total = jnp.maximum(jax.lax.psum(weight, axis_name=AXIS), 1)
  return jax.tree.map(lambda x: jax.lax.psum(x * weight, axis_name=AXIS) / total, tree)


def on_all_devices(function, **options):
  """Returns the function mapped over all devices; several hosts begin to compile together."""
  mapped = jax.pmap(function, axis_name=AXIS, **options)
  if process_count() == 1:
    return mapped
  compiled = set()

  def call(*arguments):
    shapes = tuple(x.shape for x in jax.tree.leaves(arguments))
    if shapes not in compiled:
      compiled.add(shapes)
      # Collectives on CPU give up on a host that comes half a minute late to the first step.
      gather(None)
    return mapped(*arguments)

  return call


def replicate(tree):
  """Returns a copy of `tree` on every local device, with a leading axis for them."""
  # Laid out as the step's results are: another axis name would cost a second compilation.
  return jax_utils.replicate(tree, axis_name=AXIS)


def unreplicate(tree):
  """Returns the first device's copy of a replicated `tree`."""
  return jax_utils.unreplicate(tree)


def shard(tree):
  """Returns a `tree` of host arrays [B, ...] as [devices, B / devices, ...], on the devices.

  Raises:
    ValueError: if B is not a multiple of the number of local devices.
  """
  return cut(tree, jax.local_device_count())


def cut(tree, devices: int):
  """Returns a `tree` of host arrays [B, ...] as [devices, B / devices, ...], on the host.

  Raises:
    ValueError: if B is not a multiple of `devices`.
  """
  def cut_one(x):
    if x.shape[0] % devices:
      raise ValueError(
          f"a batch of {x.shape[0]} images cannot be cut over {devices} devices: "
          "set data.batch_size and data.eval_batch_size to a multiple")
    return np.reshape(x, (devices, x.shape[0] // devices, *x.shape[1:]))

  return jax.tree.map(cut_one, tree)


def unshard(tree):
  """Returns a `tree` of [devices, b, ...] on the host as [devices * b, ...]; inverse of `shard`."""
  return jax.tree.map(lambda x: np.reshape(x, (-1, *x.shape[2:])), jax.device_get(tree))

