"""Several processes, one per host: how they join, agree and end."""

import json
from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np

_SHUTDOWN_SECONDS = 86_400


def join_hosts(*, coordinator: str | None = None, num_processes: int | None = None,
               process_id: int | None = None, dead_after: int = 100) -> None:
  """Makes this process one of several that train or evaluate together.

  Must be called before any other JAX call. Arguments default to the cluster's environment: Cloud
  TPU, Slurm, Open MPI or Kubernetes (`jax.distributed.initialize`).

  Args:
    coordinator: "address:port" of process 0.
    num_processes: their number.
    process_id: of this one, from 0.
    dead_after: seconds without a heartbeat of one process, after which the others end.

  Raises:
    ValueError: if only some of the three are given and the environment does not define the rest.
    RuntimeError: if not all processes join.
  """
  # SIGTERM at one host then makes all of them end after the same step; see `must_end`.
  jax.config.update("jax_enable_preemption_service", True)
  # At the end all wait for the first, which may score for long; if it dies, they are notified.
  jax.distributed.initialize(
      coordinator, num_processes, process_id, heartbeat_timeout_seconds=dead_after,
      shutdown_timeout_seconds=_SHUTDOWN_SECONDS)


def process_count() -> int:
  """Returns the number of processes."""
  return jax.process_count()


def is_first() -> bool:
  """Returns whether this is the process that writes and reports."""
  return jax.process_index() == 0


def must_end(step: int) -> bool:
  """Returns whether all hosts must save after this step and end, because one received SIGTERM.

  Must be called at every step on each host; it does not wait for the others. A single process
  must handle its signals itself.
  """
  return process_count() > 1 and multihost_utils.reached_preemption_sync_point(step)


def synchronize(name: str) -> None:
  """Waits until all processes have called this with the same name."""
  if process_count() > 1:
    multihost_utils.sync_global_devices(name)


def check_same(value: Any, what: str) -> None:
  """Raises if `value` differs between processes.

  Args:
    value: of this process; anything that JSON can hold. Of dicts, also nested ones, the first
      entry that differs is reported.
    what: its name in the message.

  Raises:
    ValueError: on all processes, naming the first that differs from process 0.
  """
  values = gather(value)
  for process, other in enumerate(values):
    if other != values[0]:
      name, theirs, ours = _first_difference(other, values[0])
      raise ValueError(f"process {process} has {what}{name} {theirs}, but process 0 has {ours}: "
                       "start the same command on all hosts, with a workdir that all of them see")


def _first_difference(value, other, name=""):
  if isinstance(value, dict) and isinstance(other, dict):
    key = next(key for key in value | other if value.get(key) != other.get(key))
    return _first_difference(value.get(key), other.get(key), f"{name}.{key}".lstrip("."))
  return name, value, other


def fail_together(problem: str | None) -> None:
  """Raises on every process if any process failed, so that none waits for it.

  Args:
    problem: of this process, or None.

  Raises:
    OSError: on all processes, with the first problem of any.
  """
  for found in gather(problem):
    if found is not None:
      raise OSError(found)


def gather(share: Any) -> list:
  """Returns the shares of all processes, by process index, on each of them.

  All processes must call it equally often.

  Args:
    share: of this process; anything that JSON can hold, of any length.
  """
  if jax.process_count() == 1:
    return [share]
  text = np.frombuffer(json.dumps(share).encode(), np.uint8)
  lengths = multihost_utils.process_allgather(np.array(len(text)))
  padded = np.zeros(lengths.max(), np.uint8)
  padded[:len(text)] = text
  rows = multihost_utils.process_allgather(padded)
  return [json.loads(row[:length].tobytes()) for row, length in zip(rows, lengths, strict=True)]
