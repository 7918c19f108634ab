"""Files that grow with each image: one program at a time writes them."""

from collections.abc import Callable, Iterator
import contextlib
import io
import os
import pathlib
from typing import Any

from mnc_jax.config.locks import try_lock
from mnc_jax.config.paths import is_remote


@contextlib.contextmanager
def open_shared(path: pathlib.Path, *, head: bytes) -> Iterator[Callable[[], Any]]:
  """Yields a function that returns a file for writing.

  What an earlier call wrote is there until the first use of that function, or the end if that is
  without an error; then the file begins with `head`. In cloud storage, where files are written as a
  whole, it is written at the end.

  Args:
    path: of the file.
    head: what every such file begins with.

  Raises:
    BlockingIOError: if another program writes to the file.
  """
  with _open_file(path) as file:
    started = False

    def start():
      nonlocal started
      if not started:
        file.truncate(0)
        write_at(file, 0, head)
        started = True
      return file

    if not file.seek(0, os.SEEK_END):
      start()
    yield start
    start()


def write_at(file: Any, position: int, data: bytes) -> None:
  """Writes all of `data`, of which a single write may take only a part."""
  file.seek(position)
  while data:
    data = data[file.write(data):]


@contextlib.contextmanager
def _open_file(path):
  if is_remote(path):
    with io.BytesIO() as file:
      try:
        yield file
      finally:
        path.write_bytes(file.getvalue())
    return
  # Without a buffer: after an error Python would try to write its contents once more. Not emptied
  # before it is locked.
  with open(path, "r+b", buffering=0, opener=_create) as file:
    try:
      try_lock(file)
    except BlockingIOError as error:
      raise BlockingIOError(f"another mnc predict writes to {path}: wait until it ends, or give "
                            "another --output") from error
    yield file


def _create(path, flags):
  return os.open(path, flags | os.O_CREAT, 0o666)
