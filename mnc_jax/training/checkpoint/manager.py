"""Opens the checkpoints of a run, and explains errors of writing them."""

from collections.abc import Iterator
import contextlib
import logging
import os
import re

import jax
import orbax.checkpoint as ocp

from mnc_jax.config.paths import as_workdir, is_remote, write_errors

FOLDER = "checkpoints"
KEPT = 3  # Checkpoints of a run, by default.
# Of checkpoints whose weights are an average: the entry of the metadata that says so, and that of
# the optimiser with the weights that training continues from.
AVERAGED, TRAINED = "averaged", "trained"
# Orbax renames a checkpoint when it is complete.
_UNFINISHED = "*.orbax-checkpoint-tmp"
# An error message of tensorstore: a path, the reason, an error code.
_SYSTEM_REASON = re.compile(r"([^:]+?)\s*\[os_error_code")


def open_checkpoints(workdir: str | os.PathLike[str], *, keep: int = KEPT) -> ocp.CheckpointManager:
  """Opens the checkpoints of a run.

  Args:
    workdir: folder of the run, made if it is missing.
    keep: number of checkpoints kept, the latest ones.

  Returns:
    A manager with `latest_step()` (None without a checkpoint), which saves in the background:
    call its `wait_until_finished()` before the program ends.
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
def explain_write_errors(manager: ocp.CheckpointManager) -> Iterator[None]:
  """Converts the errors of Orbax that a checkpoint cannot be written into an OSError for people.

  Also removes unfinished checkpoints, so that they do not fill the disk, and lists the complete
  ones again.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError:
    raise  # A host is lost.
  except (ValueError, RuntimeError, *write_errors(manager.directory)) as error:
    remove_unfinished(manager)
    # Orbax has dropped from its list what this save would have replaced, and would never remove it.
    # The disk that failed may not even be readable.
    with contextlib.suppress(*write_errors(manager.directory)):
      manager.reload()
    complete = ", ".join(map(str, manager.all_steps())) or "none yet"
    raise OSError(f"a checkpoint could not be written to {manager.directory}: {_reason(error)}. "
                  f"Complete checkpoints: {complete}") from error


def _reason(error):
  found = _SYSTEM_REASON.search(str(error))
  return (found[1].strip() if found else getattr(error, "strerror", None)
          or str(error).split("\n")[0][:300] or type(error).__name__)


def remove_unfinished(manager: ocp.CheckpointManager) -> None:
  """Removes unfinished checkpoints, which a failed save or a killed program left.

  Only for the program that holds the claim on the folder of `manager`. In cloud storage Orbax
  writes them under their last name, and marks those that are complete. There they stay until their
  step is saved again, since a copy of a folder from a disk has no marks either.
  """
  if jax.process_index() == 0 and not is_remote(manager.directory):
    for path in manager.directory.glob(_UNFINISHED):
      with contextlib.suppress(OSError):
        path.rmtree()


def _quiet_orbax():
  # It logs every file at INFO, numpy leaves without sharding at WARNING, and the traceback of every
  # thread of a failed write at ERROR before it raises the error; its futures do the same.
  for name in ("absl", "concurrent.futures", "asyncio"):
    logging.getLogger(name).setLevel(logging.CRITICAL)
