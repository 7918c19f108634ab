"""Paths as people write them: with `~`, and in cloud storage (`gs://`, `s3://`)."""

from collections.abc import Sequence
import os
import pathlib
import re
from typing import cast

_WEB = ("http", "https", "ftp")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def is_remote(path: str | os.PathLike[str]) -> bool:
  """Returns whether a path has a scheme, such as `gs://`."""
  return _SCHEME.match(os.fspath(path)) is not None


def write_errors(path: str | os.PathLike[str] | None) -> tuple[type[Exception], ...]:
  """Returns the errors of writing to a path; those of cloud storage are not all OSErrors."""
  return (Exception,) if path and is_remote(path) else (OSError,)


def as_path(path: str | os.PathLike[str], *, name: str = "",
            clouds: Sequence[str] = ("gs", "s3")) -> pathlib.Path:
  """Returns a path with `~` expanded; one in cloud storage as an `etils.epath.Path`.

  That has the methods of a `pathlib.Path`, which would turn `gs://` into a local folder `gs:`.

  Args:
    path: as the user gave it.
    name: of the option or config field, for the message.
    clouds: schemes of the cloud storage that what it is for can use.

  Raises:
    ValueError: if the path has another scheme.
  """
  text = os.fspath(path)
  scheme = _SCHEME.match(text)
  if scheme is None:
    return pathlib.Path(text).expanduser()
  if scheme[1] not in clouds or not text.startswith(f"{scheme[1]}://"):
    allowed = " or ".join(["a local path", *(f"{cloud}://" for cloud in clouds)])
    where = f"{name} {text}".lstrip()
    cure = ("copy the files there yourself, or mount the bucket as a folder"
            if scheme[1].lower() not in _WEB else
            f"download it yourself, for example with curl -LO '{text}', and give the file")
    raise ValueError(f"{where}: only {allowed} works here; {cure}")
  from etils import epath  # Slow to import, and rarely needed.
  return cast(pathlib.Path, epath.Path(text))


def as_local_path(path: str | os.PathLike[str], *, name: str = "") -> pathlib.Path:
  """Returns a path on this machine as `as_path` does.

  Raises:
    ValueError: if it is in cloud storage.
  """
  return as_path(path, name=name, clouds=())


def as_workdir(path: str | os.PathLike[str]) -> pathlib.Path:
  """Returns the folder of a run as `as_path` does; Orbax writes to disks and to gs://.

  Raises:
    ValueError: if it is in cloud storage of another kind.
  """
  return as_path(path, name="--workdir", clouds=("gs",))
