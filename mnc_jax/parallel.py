"""Many devices: the only file that knows of them.

State is replicated, the batch is cut into equal slices along its first axis, gradients
are averaged. So N devices with B images each take the step of one device with N * B.
"""

from collections.abc import Sequence
import functools
import json

from flax import jax_utils
import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp
import numpy as np

from mnc_jax.config import Config
from mnc_jax.inference import predict_and_count
from mnc_jax.train import eval_step, step_key, train_step

_AXIS = "devices"
_LONGEST_END = 86_400  # Seconds.


def join_hosts(*, coordinator: str | None = None, num_processes: int | None = None,
               process_id: int | None = None, dead_after: int = 100) -> None:
  """Makes this process one of several that train or evaluate together.

  To be called before anything else of JAX. Without arguments the environment tells all three,
  on Cloud TPU and under Slurm, Open MPI or Kubernetes (`jax.distributed.initialize`).

  Args:
    coordinator: "address:port" of process 0, where all meet.
    num_processes: how many there are.
    process_id: of this one, from 0.
    dead_after: seconds without a sign of life of one process, after which the others end.

  Raises:
    ValueError: if only some of the three are given and the environment does not tell the rest.
    RuntimeError: if not all processes meet.
  """
  # SIGTERM at one host then makes all of them end after the same step; see `must_end`.
  jax.config.update("jax_enable_preemption_service", True)
  # At the end all wait for the first, which may score for long; if it dies, they hear of that.
  jax.distributed.initialize(
      coordinator, num_processes, process_id, heartbeat_timeout_seconds=dead_after,
      shutdown_timeout_seconds=_LONGEST_END)


def process_count() -> int:
  """Returns how many processes work together."""
  return jax.process_count()


def is_first() -> bool:
  """Says whether this is the process that writes and reports."""
  return jax.process_index() == 0


def must_end(step: int) -> bool:
  """Says whether all hosts are to save after this step and end, since one got SIGTERM.

  To be called at every step on each host; it does not wait for the others. One process alone
  has to hear of its signals itself.
  """
  return process_count() > 1 and multihost_utils.reached_preemption_sync_point(step)


def check_same(value, what: str) -> None:
  """Refuses to go on if the processes differ.

  Args:
    value: of this process; anything that JSON can hold. Of a dict the first entry that differs
      is told.
    what: names it in the message.

  Raises:
    ValueError: on all processes, naming the first that differs from process 0.
  """
  values = gather(value)
  for process, other in enumerate(values):
    if other != values[0]:
      name, theirs, ours = _first_difference(other, values[0])
      raise ValueError(f"process {process} has {what}{name} {theirs}, but process 0 has {ours}: "
                       "start the same command on all hosts, with a workdir that all of them see")


def _first_difference(value, other):
  if isinstance(value, dict) and isinstance(other, dict):
    for name in value | other:
      if value.get(name) != other.get(name):
        return name, value.get(name), other.get(name)
  return "", value, other


def fail_together(problem: str | None) -> None:
  """Ends the work on all processes if one of them met a problem, so that none waits for it.

  Args:
    problem: of this process, or None.

  Raises:
    OSError: on all processes, with the first problem of any.
  """
  for found in gather(problem):
    if found is not None:
      raise OSError(found)


def make_train_step(config: Config):
  """Returns `step(state, batch) -> (state, metrics)` of `config` over all local devices.

  `state` is replicated and given up to the step (its buffers are reused); `batch` comes
  from `shard`. The key of each device follows from seed, step and device alone.
  """
  def step(state, batch):
    key = step_key(config.train.seed, state.step, jax.lax.axis_index(_AXIS))
    return train_step(state, batch, key, config=config, mean_over_devices=_weighted_mean)

  return _on_all_devices(step, donate_argnums=0)


def make_eval_step(config: Config):
  """Returns `step(params, batch) -> metrics` of `config` over all devices; see `train.eval_step`.

  The metrics have `images` too: how many they are the mean of.
  """
  def step(params, batch):
    key = step_key(config.train.seed, 0, jax.lax.axis_index(_AXIS))
    metrics = eval_step(params, batch, key, config=config, mean_over_devices=_weighted_mean)
    images = jax.lax.psum(jnp.sum(batch.image_sizes[:, 0] > 0), axis_name=_AXIS)
    return metrics | {"images": images}

  return _on_all_devices(step)


def _weighted_mean(tree, weight):
  total = jnp.maximum(jax.lax.psum(weight, axis_name=_AXIS), 1)
  return jax.tree.map(lambda x: jax.lax.psum(x * weight, axis_name=_AXIS) / total, tree)


def make_predict_and_count(configs: Sequence[Config]):
  """Returns `predict(models, images, image_sizes)` over all local devices.

  `models` is a sequence of replicated parameter trees, one for each of `configs`; images and
  sizes come from `shard`. The `Instances` and counts of `inference.predict_and_count` that come
  out have leading [devices, b], and `unshard` brings them to the host.
  """
  return _on_all_devices(functools.partial(predict_and_count, configs=tuple(configs)))


def _on_all_devices(function, **options):
  """Returns the function mapped over all devices; several hosts begin to compile together."""
  mapped = jax.pmap(function, axis_name=_AXIS, **options)
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
  return jax_utils.replicate(tree, axis_name=_AXIS)


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


def gather(share) -> list:
  """Returns the shares of all processes, by process index, on each of them.

  All processes must call it equally often.

  Args:
    share: of this process; anything that JSON can hold, and of any length.
  """
  if jax.process_count() == 1:
    return [share]
  text = np.frombuffer(json.dumps(share).encode(), np.uint8)
  lengths = multihost_utils.process_allgather(np.array(len(text)))
  padded = np.zeros(lengths.max(), np.uint8)
  padded[:len(text)] = text
  rows = multihost_utils.process_allgather(padded)
  return [json.loads(row[:length].tobytes()) for row, length in zip(rows, lengths, strict=True)]
