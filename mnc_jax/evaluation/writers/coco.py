"""instances.json: all instances of all images, as COCO results."""

from collections.abc import Iterator
import contextlib
import json
import pathlib

from mnc_jax.evaluation.writers.found import Found, Target, Writer

FILE = "instances.json"


@contextlib.contextmanager
def open_writer(target: Target) -> Iterator[Writer]:
  """Yields a function that adds the results of an image, each with its `file_name`."""
  with open_results(target.folder / FILE) as add:
    def write(found: Found) -> None:
      add([record | {"file_name": found.file_name} for record in found.records])
    yield write


@contextlib.contextmanager
def open_results(path: pathlib.Path) -> Iterator:
  """Yields a function that adds COCO results to a JSON file at once, so that none are lost.

  Whatever ends the block, the file then is a complete list of what was added.
  """
  with path.open("w") as file:
    separator = "["
    def add(records: list[dict]) -> None:
      nonlocal separator
      for record in records:
        file.write(separator + json.dumps(record))
        separator = ",\n"
      file.flush()
    try:
      yield add
    finally:
      file.write("]\n" if separator != "[" else "[]\n")
