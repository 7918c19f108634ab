"""Opens the checkpoints of a run, and tells of those that could not be written."""

import contextlib
import logging
import re

import jax
import orbax.checkpoint as ocp

from mnc_jax.config.paths import as_workdir, is_remote

FOLDER = "checkpoints"
KEPT = 3  # Of a run, unless told otherwise.
# Of what Orbax has not finished; it is renamed when it is complete.
_UNFINISHED = "*.orbax-checkpoint-tmp"
# What tensorstore says of a failed write: a path, a reason, an error code.
_SYSTEM_REASON = re.compile(r"([^:]+?)\s*\[os_error_code")


def open_checkpoints(workdir, *, keep=KEPT) -> ocp.CheckpointManager:
  """Opens the checkpoints of a run, to save and to go on.

  Args:
    workdir: folder of the run, made if it is missing.
    keep: number of checkpoints kept, the latest.

  Returns:
    A manager with `latest_step()` (None without a checkpoint). Saving goes on in the
    background: call its `wait_until_finished()` before the program ends.
  """
  _quiet_orbax()
  folder = as_workdir(workdir)
  folder = (folder if is_remote(folder) else folder.resolve()) / FOLDER
  folder.mkdir(parents=True, exist_ok=True)
  # Named handlers let a manager that has saved nothing yet read the shapes of what is there.
  handlers = {"params": ocp.StandardCheckpointHandler(),
              "optimizer": ocp.StandardCheckpointHandler(),
              "metadata": ocp.JsonCheckpointHandler()}
  return ocp.CheckpointManager(folder, item_handlers=handlers, options=(
      ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)))


@contextlib.contextmanager
def failures_told(manager):
  """Tells for people what Orbax raises when a checkpoint of `manager` cannot be written.

  What is half written is removed, so that it does not fill the disk; complete ones stay.

  Raises:
    OSError: with the reason, the folder and the steps that are complete.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError:
    raise  # A host is lost, which is no fault of the disk.
  except (OSError, ValueError, RuntimeError) as error:
    remove_unfinished(manager)
    complete = ", ".join(map(str, manager.all_steps())) or "none yet"
    raise OSError(f"a checkpoint could not be written to {manager.directory}: {_reason(error)}. "
                  f"Complete are the steps: {complete}") from error


def _reason(error):
  found = _SYSTEM_REASON.search(str(error))
  return (found[1].strip() if found else getattr(error, "strerror", None)
          or str(error).split("\n")[0][:300])


def remove_unfinished(manager) -> None:
  """Removes what a save that failed, or a program that was killed, left half written.

  Only for the program that holds the claim on the folder of `manager`: what it does not know
  of is dead.
  """
  if jax.process_index() == 0:
    for path in manager.directory.glob(_UNFINISHED):
      with contextlib.suppress(OSError):
        path.rmtree()


def _quiet_orbax():
  # It reports every file at INFO, at WARNING that numpy leaves have no sharding, and of a failed
  # write every thread's traceback at ERROR, before it raises the error; so do its futures.
  for name in ("absl", "concurrent.futures", "asyncio"):
    logging.getLogger(name).setLevel(logging.CRITICAL)
