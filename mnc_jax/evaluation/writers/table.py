"""instances.csv: a line for each confident instance, with its area and centroid in pixels."""

from collections.abc import Iterator
import contextlib
import csv
import io
import os
import pathlib
from typing import Any

import numpy as np

from mnc_jax.coco.rle import Rle, decode_tight, mask_area
from mnc_jax.evaluation.writers.found import Found, Target, Writer
from mnc_jax.evaluation.writers.shared_file import open_shared, write_at

FILE = "instances.csv"
COLUMNS = ("file", "image_id", "instance", "category", "score", "area_px", "centroid_x_px",
           "centroid_y_px", "box_x1_px", "box_y1_px", "box_x2_px", "box_y2_px")


def list_files(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
  """Returns the file of all images."""
  return [folder / FILE]


@contextlib.contextmanager
def open_writer(target: Target) -> Iterator[Writer]:
  """Yields a function that adds the lines of an image, at once, so that none are lost."""
  with open_shared(target.folder / FILE, head=_HEAD) as start:
    def write(found: Found) -> None:
      file = start()
      write_at(file, file.seek(0, os.SEEK_END), _format(
          (found.file_name, record["image_id"], number, *_measure(record, target.category_names))
          for number, record in enumerate(found.confident, 1)))
    yield write


def is_own(path: pathlib.Path) -> bool:
  """Returns whether a file is a table of `open_writer`, or empty."""
  with path.open("rb") as file:
    return file.read(len(_HEAD)) in (b"", _HEAD)


def _format(rows):
  """Returns lines of the table, in UTF-8 on every machine."""
  text = io.StringIO()
  csv.writer(text, lineterminator="\n").writerows(rows)
  # Names of files need not be UTF-8; Python has surrogates for their other bytes.
  return text.getvalue().encode(errors="backslashreplace")


_HEAD = _format([COLUMNS])


def _measure(record: dict[str, Any], category_names: dict[int, str]) -> tuple:
  x, y, width, height = record["bbox"]
  mask = record["segmentation"]
  return (category_names[record["category_id"]], f"{record['score']:.4f}", mask_area(mask),
          *(f"{value:.2f}" for value in (*find_centroid(mask), x, y, x + width, y + height)))


def find_centroid(mask: Rle) -> tuple[float, float]:
  """Returns (x, y), the mean of the centres of a mask's pixels; the first one's is (.5, .5).

  Args:
    mask: compressed RLE with a pixel or more.
  """
  part, (down, across) = decode_tight(mask)
  rows, columns = np.nonzero(part)
  return float(columns.mean()) + across.start + 0.5, float(rows.mean()) + down.start + 0.5
