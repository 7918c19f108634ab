"""Boundary AP: COCO's protocol, with masks matched by how well their outlines agree.

Cheng et al. 2021, "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation".
The boundary region of a mask is its pixels within a distance of its outline; what matches
is the smaller of mask IoU and the IoU of boundary regions. Mask IoU forgives a large
object an inexact outline; this does not.
"""

import functools
import math

import cv2
import numpy as np

from mnc_jax.coco.rle import Rle, decode_window, encode_window, mask_window, measure_iou
from mnc_jax.evaluation.metrics import coco

# COCO's lowest: where mask IoU is below it, the boundary cannot matter.
_LOWEST_THRESHOLD = 0.5


def average_precisions(ground_truth: dict, results: list[dict], *, width_ratio: float = 0.02,
                       max_results: int = coco.MAX_RESULTS, checked: bool = False
                       ) -> coco.CocoScore:
  """Returns the Boundary AP of masks; fields and errors are those of `coco.average_precisions`.

  Args:
    ground_truth: dict with `images`, `annotations`, `categories`.
    results: list of {image_id, category_id, score, segmentation: RLE}.
    width_ratio: width of the boundary region as a part of the image's diagonal. The paper's
      value is .02; narrower is stricter.
    max_results: as `coco.average_precisions`.
    checked: as `coco.average_precisions`.
  """
  return coco.average_precisions(
      ground_truth, results, kind="segm", max_results=max_results, checked=checked,
      overlaps=functools.partial(boundary_overlaps, width_ratio=width_ratio))


def boundary_overlaps(found: list[Rle], ground_truth: list[Rle], crowd: np.ndarray, *,
                      width_ratio: float = 0.02) -> np.ndarray:
  """Returns min(mask IoU, boundary IoU) where mask IoU is .5 or more, elsewhere mask IoU.

  For crowd regions it is mask IoU, as in the authors' code: their outlines mean nothing.

  Args:
    found: D RLEs.
    ground_truth: G RLEs of the same size.
    crowd: [G] uint8, 1 for crowd regions: there the area of the found mask replaces the union.
    width_ratio: width of the boundary region as a part of the image's diagonal.

  Returns:
    [D, G] float64. Empty masks have 0.
  """
  overlaps = measure_iou(found, ground_truth, crowd)
  close = (overlaps >= _LOWEST_THRESHOLD) & (np.asarray(crowd) == 0)
  rows, columns = np.flatnonzero(close.any(1)), np.flatnonzero(close.any(0))
  if len(rows):
    boundaries = measure_iou([boundary_region(found[row], width_ratio) for row in rows],
                             [boundary_region(ground_truth[column], width_ratio)
                              for column in columns], np.zeros(len(columns), np.uint8))
    part = np.ix_(rows, columns)
    overlaps[part] = np.minimum(overlaps[part], boundaries)
  return overlaps


def boundary_region(rle: Rle, width_ratio: float) -> Rle:
  """Returns the RLE of a mask's pixels near its outline or the border of the image.

  A pixel is near if the square of 2 d + 1 pixels around it is not all mask; beyond the image
  nothing is. d is `width_ratio` times the diagonal, rounded, at least 1, as in the authors'
  code.

  Args:
    rle: of pycocotools, compressed.
    width_ratio: width of the region as a part of the image's diagonal.
  """
  distance = max(1, round(width_ratio * math.hypot(*rle["size"])))
  window = mask_window(rle)
  # No such square fits: all is boundary.
  if min(side.stop - side.start for side in window) <= 2 * distance:
    return rle
  inside = decode_window(rle, window)
  square = np.ones((2 * distance + 1,) * 2, np.uint8)
  eroded = cv2.erode(inside, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
  return encode_window(inside - eroded, window, tuple(rle["size"]))
