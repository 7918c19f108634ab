"""Masks to polygons that people can correct, and that read back as nearly the same masks."""

from collections.abc import Sequence

import cv2
import numpy as np

from mnc_jax.coco.rle import Rle, decode_mask, decode_tight
from mnc_jax.coco.segmentation import read_segmentation

# IoU of a mask with its polygons as we read them. More vertices than that needs are hard to drag.
_LEAST_IOU = 0.98
# Pixels that vertices may be off, tried in this order. The last one is exact, since the outline
# keeps .35 from every centre of a pixel.
_TOLERANCES = (4.0, 2.0, 1.0, 0.5, 0.25)


def outline_mask(rle: Rle) -> list[np.ndarray]:
  """Returns polygons whose union is the mask, with as few vertices as an IoU of .98 needs.

  A polygon goes round each part (8 neighbours). It goes into each hole and back on the same line,
  since polygons have no holes.

  Args:
    rle: compressed, with a pixel or more.

  Returns:
    [n, 2] float64 (x, y) in pixels of the image for each part, n >= 3. The pixel in row 0 and
    column 0 covers 0 to 1 on both axes.
  """
  mask, (rows, columns) = decode_tight(rle)
  parts, polygons = _trace(mask), []
  for tolerance in _TOLERANCES:
    polygons = [_join_holes([_simplify_outer(outer, tolerance),
                             *(_simplify(hole, tolerance) for hole in holes)])
                for outer, *holes in parts]
    if _measure_iou(polygons, mask) >= _LEAST_IOU:
      break
  return [polygon + (columns.start, rows.start) for polygon in polygons]


def _trace(mask: np.ndarray) -> list[list[np.ndarray]]:
  """Returns the outer outline of each part, and those of its holes; vertices are on pixel edges."""
  # At twice the size pixels are at even indices and what lies between two of them at odd ones, so
  # that OpenCV's outline, which is that of the outermost pixels, goes along the edges.
  fine = np.zeros((2 * mask.shape[0] + 3, 2 * mask.shape[1] + 3), np.uint8)
  fine[2:-2:2, 2:-2:2] = mask
  fine = cv2.dilate(fine, np.ones((3, 3), np.uint8))
  outlines, hierarchy = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
  parts = {}
  # Parts come with no parent, holes with that of their part.
  for index in np.argsort(hierarchy[0][:, 3] >= 0, kind="stable"):
    parent = int(hierarchy[0][index, 3])
    parts.setdefault(parent if parent >= 0 else int(index), []).append(
        _take_edges(outlines[index][:, 0]))
  return list(parts.values())


def _take_edges(outline):
  """Returns the points in the middles of pixel edges, without the corners: diagonals are straight.

  They have one odd index.
  """
  return (outline[outline.sum(axis=1) % 2 == 1] - 1) / 2


def _simplify_outer(outline, tolerance):
  """Returns the outline of a part, as coarse as leaves it an area: a speck keeps its few points."""
  simple = (_simplify(outline, finer) for finer in _TOLERANCES if finer <= tolerance)
  return next((points for points in simple if len(points) >= 3), outline)


def _simplify(outline, tolerance):
  return cv2.approxPolyDP(outline.astype(np.float32)[:, None], tolerance, True)[:, 0].astype(float)


def _join_holes(outlines: Sequence[np.ndarray]) -> np.ndarray:
  """Returns the first outline, led into each of the others from the vertex nearest to it."""
  joined, *holes = outlines
  for hole in holes:
    distances = np.square(joined[:, None] - hole[None]).sum(axis=2)
    start, first = np.unravel_index(distances.argmin(), distances.shape)
    joined = np.concatenate(
        [joined[:start + 1], hole[first:], hole[:first + 1], joined[start:]])
  return joined


def _measure_iou(polygons, mask):
  read = decode_mask(read_segmentation([polygon.ravel().tolist() for polygon in polygons],
                                       *mask.shape))
  return np.count_nonzero(read & mask) / np.count_nonzero(read | mask)
