"""Joins the other hosts that work on the same run."""

import os
import pathlib
import warnings

from mnc_jax import parallel
from mnc_jax.cli.commands import Hosts
from mnc_jax.cli.parse import UsageError
from mnc_jax.config.paths import is_remote

# How many processes one command of a cluster started: srun, mpirun.
_STARTED = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


def join_hosts(options: Hosts) -> None:
  """Joins the other hosts, if options ask for it. Must be called before any other JAX call.

  Raises:
    UsageError: if only some of the options are given, or the environment names no hosts.
    OSError: if the other hosts cannot be reached.
  """
  address = (options.coordinator, options.num_processes, options.process_id)
  if options.join_hosts or None not in address:
    try:
      parallel.join_hosts(coordinator=address[0], num_processes=address[1], process_id=address[2],
                          dead_after=options.dead_after)
    except ValueError as error:
      raise UsageError(
          f"the environment does not name the hosts ({str(error).rstrip('.')}): --join-hosts is "
          "for TPU pods, srun of Slurm, mpirun of Open MPI, and Kubernetes. Elsewhere give "
          "--coordinator HOST:PORT --num-processes N --process-id I") from error
    except RuntimeError as error:
      raise OSError(f"the hosts could not be joined: {error}") from error
  elif address != (None, None, None):
    raise UsageError("--coordinator, --num-processes and --process-id go together; or give "
                     "--join-hosts where the environment names the hosts")


def check_joined(workdir: pathlib.Path) -> None:
  """Reports that one command started several processes, which have not joined to one.

  Each then trains by itself. That may be meant, if each has another workdir; one on a disk is
  locked against the others, one in cloud storage is not.

  Raises:
    UsageError: if `workdir` is in cloud storage.
  """
  name = next((name for name in _STARTED if int(os.environ.get(name) or 1) > 1), None)
  if name is None or parallel.process_count() > 1:
    return
  message = (f"{os.environ[name]} processes were started together ({name}), but each trains by "
             "itself: add --join-hosts to train one model")
  if is_remote(workdir):
    raise UsageError(f"{message}. For separate runs, each with a workdir of its own, start each by "
                     f"env -u {name} mnc train")
  warnings.warn(f"{message}, or give each a workdir of its own", stacklevel=2)
