"""instances.json: all instances of all images, as COCO results."""

from collections.abc import Iterator
import contextlib
import io
import json
import pathlib

from mnc_jax.config.paths import is_remote
from mnc_jax.evaluation.writers.found import Found, Target, Writer

FILE = "instances.json"


@contextlib.contextmanager
def open_writer(target: Target) -> Iterator[Writer]:
  """Yields a function that adds the results of an image, with `file_name` and `category_name`."""
  with open_results(target.folder / FILE) as add:
    def write(found: Found) -> None:
      # Names say what is meant where a ground truth has other ids.
      add([record | {"file_name": found.file_name,
                     "category_name": target.category_names[record["category_id"]]}
           for record in found.records])
    yield write


@contextlib.contextmanager
def open_results(path: pathlib.Path) -> Iterator:
  """Yields a function that adds COCO results to a JSON file at once, so that none are lost.

  The file is a complete list of what was added after each call, even if the process is killed or
  the disk becomes full. In a bucket, where files are written as a whole, it is at the end.
  """
  with _open_file(path) as file:
    _write(file, 0, b"[]\n")
    end, separator = 1, ""

    def add(records: list[dict]) -> None:
      nonlocal end, separator
      if not records:
        return
      rows = (separator + ",\n".join(map(json.dumps, records))).encode()
      try:
        _write(file, end, rows + b"]\n")
      except OSError:
        file.truncate(end)
        _write(file, end, b"]\n")
        raise
      end, separator = end + len(rows), ",\n"

    yield add


@contextlib.contextmanager
def _open_file(path):
  if is_remote(path):
    with io.BytesIO() as file:
      try:
        yield file
      finally:
        path.write_bytes(file.getvalue())
  else:
    # Without a buffer: after an error Python would try to write its contents once more.
    with path.open("wb", buffering=0) as file:
      yield file


def _write(file, position, data):
  file.seek(position)
  while data:  # A write may take only a part.
    data = data[file.write(data):]
