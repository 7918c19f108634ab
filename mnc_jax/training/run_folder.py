"""The folder of a run: its config, and the lock that keeps a second program from training there.

    workdir/config.json     the config of the last save
    workdir/lock            held while a program trains there
    workdir/checkpoints/    see `checkpoint`
    workdir/metrics.jsonl   and logs/, see `metrics_log`
    workdir/profile/        of `train.profile_steps`, see `profiling`
    workdir/best/           a workdir with the best checkpoint, see `validation`
"""

from collections.abc import Iterator
import contextlib
import os
import shutil
import socket
import warnings

from mnc_jax.config import Config
from mnc_jax.config.locks import try_lock
from mnc_jax.config.paths import as_workdir, is_remote
from mnc_jax.config.serialization import from_json, to_json

_CONFIG_FILE, _LOCK_FILE = "config.json", "lock"


@contextlib.contextmanager
def claim(workdir: str | os.PathLike[str]) -> Iterator[None]:
  """Makes the folder of a run if it is missing, and keeps other programs from training in it.

  The system releases the lock when the program ends, however that happens; the file stays.

  Raises:
    OSError: if nothing can be written there, or if another program trains there.
  """
  path = as_workdir(workdir) / _LOCK_FILE
  if is_remote(workdir):
    _warn_of_no_lock(workdir, "it is in cloud storage")
    yield
    return
  with name_workdir_in_errors(workdir):
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a+")
  with lock:
    _lock(lock, workdir)
    with name_workdir_in_errors(workdir):
      lock.truncate(0)
      lock.write(f"process {os.getpid()} on {socket.gethostname()}")
      lock.flush()
      os.fsync(lock.fileno())  # Other hosts read it.
    yield


@contextlib.contextmanager
def name_workdir_in_errors(workdir: str | os.PathLike[str]) -> Iterator[None]:
  """Adds the path of the workdir to OSErrors."""
  try:
    yield
  except OSError as error:
    raise OSError(f"nothing can be written to --workdir {workdir} ({error.strerror}): give a "
                  "folder on a disk with space that is yours to write to") from error


def _lock(lock, workdir):
  try:
    reason = try_lock(lock)
  except BlockingIOError as error:
    raise BlockingIOError(
        f"another run is training in {workdir} ({describe_owner(workdir) or 'just started'}): wait "
        "until it ends, stop it, or give another --workdir") from error
  if reason:
    _warn_of_no_lock(workdir, reason)


def _warn_of_no_lock(workdir, reason):
  warnings.warn(f"{workdir} cannot be locked ({reason}): make sure that no other run trains there",
                stacklevel=5)


def describe_owner(workdir: str | os.PathLike[str]) -> str:
  """Returns process and host of the program that trains in `workdir`; "" if there is none."""
  path = as_workdir(workdir) / _LOCK_FILE
  return path.read_text() if path.is_file() else ""


def check_space(workdir: str | os.PathLike[str], *, needed: int) -> None:
  """Raises OSError if the disk of `workdir` has less than the `needed` bytes free."""
  if is_remote(workdir):
    return
  free = shutil.disk_usage(workdir).free
  if free < needed:
    raise OSError(f"the disk of --workdir {workdir} has {free / 1e6:,.0f} MB free, and the "
                  f"checkpoints to be written need {needed / 1e6:,.0f} MB: make space, or give a "
                  "folder on another disk")


def read_config(workdir: str | os.PathLike[str]) -> Config:
  """Returns the config that the run in `workdir` was last saved with.

  Raises:
    FileNotFoundError: if the folder or its config is missing.
    ValueError: if the config cannot be read.
  """
  workdir = as_workdir(workdir)
  if not workdir.is_dir():
    raise FileNotFoundError(f"{workdir}: no such folder. Give the --workdir of a training run.")
  path = workdir / _CONFIG_FILE
  if not path.is_file():
    raise FileNotFoundError(
        f"{workdir} has no checkpoint (no {_CONFIG_FILE} in it): give the --workdir of a run of "
        "mnc train that has reached its first checkpoint")
  try:
    return from_json(path.read_text())
  except (ValueError, TypeError) as error:
    raise ValueError(f"{path}: {error}") from error


def write_config(workdir: str | os.PathLike[str], config: Config) -> None:
  """Writes the config of the run in `workdir`, if it has changed."""
  path, text = as_workdir(workdir) / _CONFIG_FILE, to_json(config)
  if not path.is_file() or path.read_text() != text:
    # Renamed into place, so that nobody reads half a file.
    path.with_suffix(".json.new").write_text(text)
    path.with_suffix(".json.new").replace(path)
