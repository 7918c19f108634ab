"""The folder of a run: its config, and the claim of the one program that trains in it.

    workdir/config.json   the config of the last save
    workdir/lock          held while a program trains there
"""

import contextlib
import fcntl
import os
import shutil
import socket
import warnings

from mnc_jax.config import Config
from mnc_jax.config.paths import as_workdir, is_remote
from mnc_jax.config.serialization import from_json, to_json

_CONFIG_FILE, _LOCK_FILE = "config.json", "lock"


@contextlib.contextmanager
def claim(workdir):
  """Makes the folder of a run if it is missing, and keeps other programs from training in it.

  The system gives the claim back when the program ends, however that happens; the file stays.

  Args:
    workdir: folder of the run.

  Raises:
    OSError: if nothing can be written there, or another program trains there, saying which.
  """
  path = as_workdir(workdir) / _LOCK_FILE
  if is_remote(workdir):
    warnings.warn(f"{workdir} cannot be locked, since it is in a bucket: make sure that no other "
                  "run trains there", stacklevel=3)
    yield
    return
  with _told_of(workdir):
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a+")
  with lock:
    _lock(lock, workdir)
    with _told_of(workdir):
      lock.truncate(0)
      lock.write(f"process {os.getpid()} on {socket.gethostname()}")
      lock.flush()
      os.fsync(lock.fileno())  # Other hosts read it.
    yield


@contextlib.contextmanager
def _told_of(workdir):
  """Says of what cannot be written that the workdir is meant."""
  try:
    yield
  except OSError as error:
    raise OSError(f"nothing can be written to --workdir {workdir} ({error.strerror}): give a "
                  "folder on a disk with space that is yours to write to") from error


def _lock(lock, workdir):
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    raise BlockingIOError(
        f"another run is training in {workdir} ({describe_owner(workdir) or 'just started'}): wait "
        "for its end, stop it, or give another --workdir") from error
  except OSError as error:
    # Some network file systems know no locks.
    warnings.warn(f"{workdir} cannot be locked ({error.strerror}): see to it that no other run "
                  "trains there", stacklevel=4)


def describe_owner(workdir) -> str:
  """Returns what the program that trains in `workdir` wrote of itself; "" if there is nothing."""
  path = as_workdir(workdir) / _LOCK_FILE
  return path.read_text() if path.is_file() else ""


def check_space(workdir, *, needed: int) -> None:
  """Checks that a disk has room for what is to be saved; buckets have no limit.

  Args:
    workdir: an existing folder on it.
    needed: bytes.

  Raises:
    OSError: naming both sizes.
  """
  if is_remote(workdir):
    return
  free = shutil.disk_usage(workdir).free
  if free < needed:
    raise OSError(f"the disk of --workdir {workdir} has {free / 1e6:,.0f} MB free, and the "
                  f"checkpoints to be written need {needed / 1e6:,.0f} MB: make space, or give a "
                  "folder on another disk")


def read_config(workdir) -> Config:
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


def write_config(workdir, config: Config) -> None:
  """Writes the config of the run in `workdir`, if it has changed.

  Raises:
    OSError: if it cannot be written; what was there stays.
  """
  path, text = as_workdir(workdir) / _CONFIG_FILE, to_json(config)
  if not path.is_file() or path.read_text() != text:
    # Renamed into place, so that no reader sees half a file.
    path.with_suffix(".json.new").write_text(text)
    path.with_suffix(".json.new").replace(path)
