"""NAME.png: the image with its confident instances drawn."""

from collections.abc import Iterator
import contextlib
import pathlib

from mnc_jax.data.images import encode_png
from mnc_jax.evaluation.visualize import draw_instances
from mnc_jax.evaluation.writers.found import Found, Target, Writer


def list_files(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
  """Returns the files of an image called `name`."""
  return [folder / f"{name}.png"]


@contextlib.contextmanager
def open_writer(target: Target) -> Iterator[Writer]:
  """Yields a function that writes the picture of an image."""
  def write(found: Found) -> None:
    picture = draw_instances(found.pixels, found.confident, target.category_names)
    (path,) = list_files(target.folder, found.name)
    path.write_bytes(encode_png(picture))
  yield write
