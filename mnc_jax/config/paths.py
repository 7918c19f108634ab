"""Paths as people write them: with `~`, and in buckets (`gs://`, `s3://`)."""

import os
import pathlib
import re
from typing import cast

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_BUCKETS = ("gs", "s3")


def is_remote(path: str | os.PathLike[str]) -> bool:
  """Returns whether a path has a scheme, such as `gs://`."""
  return _SCHEME.match(os.fspath(path)) is not None


def as_path(path: str | os.PathLike[str]) -> pathlib.Path:
  """Returns a path with `~` expanded; one in a bucket as an `etils.epath.Path`.

  That has the methods of a `pathlib.Path`, which would turn `gs://` into a local folder `gs:`.

  Raises:
    ValueError: if the path has a scheme other than `gs://` and `s3://`.
  """
  text = os.fspath(path)
  scheme = _SCHEME.match(text)
  if scheme is None:
    return pathlib.Path(text).expanduser()
  if scheme[1] not in _BUCKETS or not text.startswith(f"{scheme[1]}://"):
    raise ValueError(f"{text}: paths are local, or begin with gs:// or s3://")
  from etils import epath  # Slow to import, and rarely needed.
  return cast(pathlib.Path, epath.Path(text))


def as_local_path(path: str | os.PathLike[str], *, name: str = "") -> pathlib.Path:
  """Returns a path on this machine, with `~` expanded.

  Args:
    path: as the user gave it.
    name: of the option or config field, for the message.

  Raises:
    ValueError: if the path is in a bucket.
  """
  if is_remote(path):
    where = f"{name} {os.fspath(path)}".lstrip()
    raise ValueError(f"{where}: only a local path works here: copy the files from or to the bucket "
                     "yourself, or mount it as a folder")
  return as_path(path)
