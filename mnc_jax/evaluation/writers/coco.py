"""instances.json: all instances of all images, as COCO results."""

from collections.abc import Iterator
import contextlib
import json
import pathlib

from mnc_jax.evaluation.writers.found import Found, Target, Writer
from mnc_jax.evaluation.writers.shared_file import open_shared, write_at

FILE = "instances.json"


def list_files(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
  """Returns the file of all images."""
  return [folder / FILE]


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
  the disk becomes full. In cloud storage, where files are written as a whole, it is at the end.
  Until the first call it keeps what was there.

  Raises:
    BlockingIOError: if another program writes to the file.
  """
  with open_shared(path, head=b"[]\n") as start:
    end, separator = 1, ""

    def add(records: list[dict]) -> None:
      nonlocal end, separator
      file = start()
      if not records:
        return
      rows = (separator + ",\n".join(map(json.dumps, records))).encode()
      try:
        write_at(file, end, rows + b"]\n")
      except OSError:
        file.truncate(end)
        write_at(file, end, b"]\n")
        raise
      end, separator = end + len(rows), ",\n"

    yield add


def is_own(path: pathlib.Path) -> bool:
  """Returns whether a file is one that `open_writer` wrote, or empty."""
  with path.open("rb") as file:
    line = file.readline()
  # COCO results of other programs may begin as ours do, but without names.
  return not line or line.strip() == b"[]" or (
      line.startswith(b'[{"image_id": ') and b'"category_name": ' in line)
