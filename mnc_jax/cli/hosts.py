"""Joins the other hosts that work on the same run."""

from mnc_jax import parallel
from mnc_jax.cli.commands import Hosts
from mnc_jax.cli.parse import UsageError


def join_hosts(options: Hosts) -> None:
  """Joins the other hosts, if options ask for it. Must be called before any other JAX call.

  Raises:
    UsageError: if only some of the options are given.
    OSError: if the other hosts cannot be reached.
  """
  address = (options.coordinator, options.num_processes, options.process_id)
  if options.join_hosts or None not in address:
    try:
      parallel.join_hosts(coordinator=address[0], num_processes=address[1], process_id=address[2],
                          dead_after=options.dead_after)
    except RuntimeError as error:
      raise OSError(f"the hosts could not be joined: {error}") from error
  elif address != (None, None, None):
    raise UsageError("--coordinator, --num-processes and --process-id go together; or give "
                     "--join-hosts where the environment names the hosts")
