"""Areas of annotations held against their masks, and outlines and boxes against their images."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnc_jax.coco.rle import mask_area, mask_box
from mnc_jax.coco.schema import Row, is_integer
from mnc_jax.coco.segmentation import with_outer_list

_NOTABLE_SHARE = 0.05  # Of the annotations of a file.
# Of an area, and from which pixels on: polygons of small instances differ from their pixels.
_FACTOR, _LEAST_PIXELS = 1.3, 100
_FAR = 3.0  # Pixels out of an image.
_FILLED_SHARE, _FEWEST_FILLED = 0.9, 10  # Of masks that are rectangles.
# Of a rectangle's diagonals: corners in whole pixels, and as a share of their length.
_ROUNDED, _UNEVEN = 1.5, 0.03


def describe_sizes(annotations: Sequence[Row], content: Any, images: Mapping[int, Row], *,
                   name: str) -> list[str]:
  """Returns messages: that many areas do not fit masks, that many annotations leave their images.

  Areas of crowd regions are not compared.

  Args:
    annotations: checked rows, with masks as RLE.
    content: of the file that they are from; it has the polygons.
    images: by id.
    name: what messages call the file.
  """
  outside = _describe_outside(annotations, _find_polygons(content), images, name)
  return list(filter(None, [_describe_areas(annotations, name), outside]))


def describe_rectangles(annotations: Sequence[Row], content: Any, *, name: str) -> str:
  """Returns a message if nearly all masks are rectangles, as boxes that a tool wrote as polygons.

  These are masks that fill their boxes, and polygons that are rotated rectangles, as in YOLO's OBB
  format. Crowd regions and small masks do not count.

  Args:
    annotations: checked rows, with masks as RLE.
    content: of the file that they are from; it has the polygons.
    name: what the message calls the file.
  """
  pixels = [(row, area) for row in annotations if not row.get("iscrowd", 0)
            for area in [mask_area(row["segmentation"])] if area > _LEAST_PIXELS]
  others = [row for row, area in pixels for box in [mask_box(row["segmentation"])]
            if box[2] * box[3] != area]
  polygons = _find_polygons(content) if others else {}
  rotated = sum(_is_rectangle(with_outer_list(polygons.get(row["id"], []))) for row in others)
  filled = len(pixels) - len(others)
  if filled + rotated < max(_FILLED_SHARE * len(pixels), _FEWEST_FILLED):
    return ""
  kinds = " or ".join([*(["fill their boxes"] if filled else []),
                       *(["are rotated boxes (as of YOLO's OBB format)"] if rotated else [])])
  return (f"{name}: {filled + rotated} of {len(pixels)} masks {kinds}: rectangles rather than "
          "outlines? Masks will be learned as boxes")


def _is_rectangle(polygons):
  """Returns whether there is one polygon, of four corners whose diagonals are equal and halved."""
  if len(polygons) != 1:
    return False
  corners = np.reshape(np.asarray(polygons[0], np.float64), (-1, 2))
  if len(corners) == 5 and (corners[0] == corners[4]).all():  # Closed.
    corners = corners[:4]
  if len(corners) != 4:
    return False
  diagonals = corners[2:] - corners[:2]
  lengths = np.hypot(*diagonals.T)
  apart = np.hypot(*(corners[0] + corners[2] - corners[1] - corners[3]) / 2)
  return max(abs(lengths[0] - lengths[1]), apart) <= max(_ROUNDED, _UNEVEN * lengths.max())


def _describe_areas(annotations, name):
  compared = [(row, pixels) for row in annotations
              if "area" in row and "segmentation" in row and not row.get("iscrowd", 0)
              for pixels in [mask_area(row["segmentation"])] if pixels > _LEAST_PIXELS]
  wrong = [(row, pixels) for row, pixels in compared
           if not pixels / _FACTOR <= row["area"] <= pixels * _FACTOR]
  if not wrong or len(wrong) < _NOTABLE_SHARE * len(compared):
    return ""
  row, pixels = wrong[0]
  return (f"{name}: {len(wrong)} of {len(compared)} areas do not fit their masks (annotation "
          f"{row['id']}: area {row['area']}, {pixels} pixels of the mask): area is no pixel count, "
          "or holes were filled. COCO's scores by size (APs, APm, APl) use the area")


def _describe_outside(annotations, polygons, images, name):
  bounds = [(row, found) for row in annotations
            for found in [_find_bounds(row, polygons.get(row["id"]))] if found]
  wrong = [(row, found) for row, found in bounds if _is_outside(found, images[row["image_id"]])]
  # A single one among others was drawn across the border.
  if not wrong or len(wrong) < max(_NOTABLE_SHARE * len(bounds), min(2, len(bounds))):
    return ""
  row, (x1, y1, x2, y2) = wrong[0]
  image = images[row["image_id"]]
  return (f"{name}: {len(wrong)} of {len(bounds)} annotations reach more than {_FAR:.0f} pixels "
          f"out of their image (annotation {row['id']}: x {x1:g} to {x2:g} and y {y1:g} to {y2:g}, "
          f"image {row['image_id']}: {image['width']} x {image['height']} pixels): they may be of "
          "another size of the image. Of masks, what is outside is cut off")


def _find_polygons(content):
  """Returns {annotation id: segmentation, if it is a list}, of ids that occur once."""
  rows = [row for row in content["annotations"]
          if isinstance(row, dict) and is_integer(row.get("id"))]
  counts = collections.Counter(row["id"] for row in rows)
  return {row["id"]: row["segmentation"] for row in rows
          if isinstance(row.get("segmentation"), list) and counts[row["id"]] == 1}


def _find_bounds(row, polygons) -> tuple[float, ...] | None:
  """Returns x1, y1, x2, y2 of the polygons and the box of an annotation, None without either."""
  outlines = [polygon for polygon in with_outer_list(polygons or []) if len(polygon) >= 6]
  xs = [x for polygon in outlines for x in polygon[::2]]
  ys = [y for polygon in outlines for y in polygon[1::2]]
  if "bbox" in row:
    x, y, width, height = row["bbox"]
    xs, ys = [*xs, x, x + width], [*ys, y, y + height]
  return (min(xs), min(ys), max(xs), max(ys)) if xs else None


def _is_outside(bounds, image):
  x1, y1, x2, y2 = bounds
  return max(-x1, -y1, x2 - image["width"], y2 - image["height"]) > _FAR
