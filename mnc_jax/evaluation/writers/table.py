"""instances.csv: a line for each confident instance, with its area and centroid in pixels."""

from collections.abc import Iterator
import contextlib
import csv
import io
from typing import Any

import numpy as np

from mnc_jax.coco.rle import Rle, decode_window, mask_area, mask_box
from mnc_jax.evaluation.writers.found import Found, Target, Writer

FILE = "instances.csv"
COLUMNS = ("file", "image_id", "instance", "category", "score", "area_px", "centroid_x_px",
           "centroid_y_px", "box_x1_px", "box_y1_px", "box_x2_px", "box_y2_px")


@contextlib.contextmanager
def open_writer(target: Target) -> Iterator[Writer]:
  """Yields a function that adds the lines of an image, at once, so that none are lost."""
  # Not as text: tables are UTF-8 on every machine.
  with (target.folder / FILE).open("wb") as file:
    def add(rows):
      text = io.StringIO()
      csv.writer(text, lineterminator="\n").writerows(rows)
      # Names of files need not be UTF-8; Python has surrogates for their other bytes.
      file.write(text.getvalue().encode(errors="backslashreplace"))
      file.flush()
    def write(found: Found) -> None:
      add((found.file_name, record["image_id"], number, *_measure(record, target.category_names))
          for number, record in enumerate(found.confident, 1))
    add([COLUMNS])
    yield write


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
  x, y, width, height = map(int, mask_box(mask))
  rows, columns = np.nonzero(decode_window(mask, (slice(y, y + height), slice(x, x + width))))
  return float(columns.mean()) + x + 0.5, float(rows.mean()) + y + 0.5
