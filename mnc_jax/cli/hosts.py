"""One program on several hosts: its flags, and how it ends when one of them is lost."""

import argparse
import os
import sys

from mnc_jax import parallel


def add_host_options(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that make this process one of several."""
  group = parser.add_argument_group(
      "several hosts", "Start the same command on each. The workdir must be one that all see.")
  group.add_argument("--join-hosts", action="store_true",
                     help="the environment tells the others: TPU pods, Slurm, Open MPI, Kubernetes")
  group.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
  group.add_argument("--num-processes", type=int, metavar="N")
  group.add_argument("--process-id", type=int, metavar="I", help="of this one, from 0")
  group.add_argument("--dead-after", type=int, default=100, metavar="SECONDS",
                     help="without a sign of life of one host, after which the others end")


def join_hosts(options) -> None:
  """Meets the other hosts, if flags ask for it.

  Raises:
    ValueError: if only some of the flags are given.
    OSError: if the others cannot be met.
  """
  told = (options.coordinator, options.num_processes, options.process_id)
  if all(value is None for value in told) and not options.join_hosts:
    return
  if any(value is None for value in told) and not options.join_hosts:
    raise ValueError("--coordinator, --num-processes and --process-id go together; or give "
                     "--join-hosts, where the environment tells them")
  try:
    parallel.join_hosts(coordinator=told[0], num_processes=told[1], process_id=told[2],
                        dead_after=options.dead_after)
  except RuntimeError as error:
    raise OSError(f"the hosts did not meet: {error}") from error


def end_alone(message: str) -> None:
  """Ends this process with status 1, if it is one of several, without waiting for the others.

  A usual end meets them once more, and those that wait for this one at a step never come.
  """
  if parallel.process_count() > 1:
    print(message, file=sys.stderr, flush=True)
    os._exit(1)
