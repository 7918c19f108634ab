"""Several processes that work together: meeting, agreeing, and ending."""

import json

import jax
from jax.experimental import multihost_utils
import numpy as np

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
