"""What a format is converted to, and the shapes that COCO has no word for, as polygons."""

from collections.abc import Mapping, Sequence
import math
from typing import Any, NamedTuple

import numpy as np

Row = dict[str, Any]
_CORNERS = 90  # Of an ellipse: its area is right to .1 %.


class Converted(NamedTuple):
  """A split in another format.

  Attributes:
    images: rows as in COCO files.
    annotations: rows as in COCO files, but with the name of a `category` for its id.
  """
  images: list[Row]
  annotations: list[Row]


def number_categories(splits: Mapping[str, Converted]) -> dict[str, Row]:
  """Returns the content of a COCO file for each split; ids from 1 in the order of the names."""
  names = sorted({row["category"] for split in splits.values() for row in split.annotations})
  ids = {name: number for number, name in enumerate(names, 1)}
  categories = [{"id": number, "name": name} for name, number in ids.items()]
  return {split: {
      "images": found.images, "categories": categories,
      "annotations": [
          {key: value for key, value in row.items() if key != "category"}
          | {"id": number, "category_id": ids[row["category"]], "iscrowd": 0}
          for number, row in enumerate(found.annotations, 1)]}
          for split, found in splits.items()}


def outline_rectangle(left: float, top: float, right: float, bottom: float) -> list[float]:
  """Returns the polygon of a rectangle, whose corners may be swapped."""
  left, right = sorted((left, right))
  top, bottom = sorted((top, bottom))
  return [left, top, right, top, right, bottom, left, bottom]


def outline_ellipse(center: Sequence[float], radii: Sequence[float], angle: float) -> list[float]:
  """Returns the polygon of an ellipse with `radii` (x, y) turned by `angle`, in radians."""
  phases = np.arange(_CORNERS) * 2 * math.pi / _CORNERS
  x, y = radii[0] * np.cos(phases), radii[1] * np.sin(phases)
  points = np.stack([center[0] + x * math.cos(angle) - y * math.sin(angle),
                     center[1] + x * math.sin(angle) + y * math.cos(angle)], axis=1)
  return points.ravel().tolist()
