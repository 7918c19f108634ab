"""Boxes of a file, held against the bounds of its masks."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mnc_jax.coco.rle import Rle, decode_mask, encode_mask, mask_boxes
from mnc_jax.coco.schema import Row

# A box misfits if it is this far off in pixels, and its IoU with the bounds is below that. Of the
# 4646 boxes of three parts of COCO, 2 do.
_FAR, _LEAST_IOU = 3.0, 0.7
_NOTABLE_SHARE = 0.05  # Of misfits among the boxes of a file.
_HARDLY = 0.1  # IoU of boxes of results that belong to other masks.
_SAMPLE = 50  # Masks that are decoded to find the cause.

# What boxes [x, y, width, height] may have been meant as, with the sizes (height, width).
_READINGS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "as [x1, y1, x2, y2], where COCO has [x, y, width, height]":
        lambda b, size: np.stack([b[:, 0], b[:, 1], b[:, 2] - b[:, 0], b[:, 3] - b[:, 1]], 1),
    "as [y1, x1, y2, x2], where COCO has [x, y, width, height]":
        lambda b, size: np.stack([b[:, 1], b[:, 0], b[:, 3] - b[:, 1], b[:, 2] - b[:, 0]], 1),
    "with x and y swapped, in either the boxes or the masks: a picture of both shows in which":
        lambda b, size: b[:, [1, 0, 3, 2]],
    "as [centre x, centre y, width, height], where COCO has the corner":
        lambda b, size: np.concatenate([b[:, :2] - b[:, 2:] / 2, b[:, 2:]], 1),
    "as shares of the image's width and height, where COCO has pixels":
        lambda b, size: b * size[:, [1, 0, 1, 0]],
    "as shares of the image's sides from the centre, where COCO has pixels from the corner":
        lambda b, size: np.concatenate([b[:, :2] - b[:, 2:] / 2, b[:, 2:]], 1)
        * size[:, [1, 0, 1, 0]]}
_ROWS = ("if the run lengths of the masks go along the rows, where COCO's go down the columns: the "
         "masks are wrong")
_NO_CAUSE = "No common cause was found: boxes or masks may be of another size of the images"


class _Compared(NamedTuple):
  """The N rows of a list that have a box and a mask, neither of them empty.

  Attributes:
    rows: their N indices in the list.
    boxes: [N, 4] as they are.
    bounds: [N, 4] of the masks.
    sizes: [N, 2] of the images (height, width).
    rles: N masks.
  """
  rows: list[int]
  boxes: np.ndarray
  bounds: np.ndarray
  sizes: np.ndarray
  rles: list[Rle]


def correct_boxes(annotations: Sequence[Row], *, name: str) -> tuple[list[Row], str]:
  """Replaces boxes by the bounds of their masks, if many boxes of the file do not fit these.

  Fewer misfits than a twentieth are left as they are: COCO's own files have some, and published
  scores are of these boxes.

  Args:
    annotations: rows, of which those with `bbox` and an RLE as `segmentation` are compared, if
      neither is empty. A box may reach outside of its image.
    name: what the message calls the file.

  Returns:
    The annotations, and a message with counts, an example and the likely cause; "" if nothing was
    replaced.
  """
  both = _compare(annotations)
  wrong = np.flatnonzero(~_fit(both.boxes, both.bounds, both.sizes))
  if len(wrong) < max(_NOTABLE_SHARE * len(both.rows), 1):
    return list(annotations), ""
  reading, cause = _find_cause(both, wrong)
  replaced = wrong
  if reading is not None:
    # The same mistake, where it happens to make less of a difference: at the image's corner.
    better = (_iou(reading(both.boxes, both.sizes), both.bounds, both.sizes)
              > _iou(both.boxes, both.bounds, both.sizes))
    replaced = np.union1d(wrong, np.flatnonzero(better))
  corrected = list(annotations)
  for index in replaced:
    row = int(both.rows[index])
    corrected[row] = annotations[row] | {"bbox": both.bounds[index].tolist()}
  first = annotations[int(both.rows[wrong[0]])]
  return corrected, (
      f"{name}: {len(wrong)} of {len(both.rows)} boxes do not fit their masks (annotation "
      f"{first['id']}: bbox {first['bbox']}, bounds of the mask "
      f"{both.bounds[wrong[0]].tolist()}). {cause}. Scores of boxes use the bounds of the masks")


def describe_result_boxes(results: Sequence[Row], *, name: str) -> str:
  """Returns a message if most boxes of results clearly do not fit their masks, else "".

  A regressed box is not the bounds of its mask, so a misfit needs more than in `correct_boxes`:
  either another reading of the boxes fits, or they and the masks hardly overlap.

  Args:
    results: those with `bbox` and an RLE as `segmentation` are compared, if neither is empty.
    name: what the message calls the file.
  """
  both = _compare(results)
  if not both.rows:
    return ""
  fits, overlap = (measure(both.boxes, both.bounds, both.sizes) for measure in (_fit, _iou))
  wrong = np.flatnonzero(~fits)
  if len(wrong) <= len(both.rows) / 2:
    return ""
  _, cause = _find_cause(both, wrong)
  if cause == _NO_CAUSE:
    wrong = np.flatnonzero(~fits & (overlap < _HARDLY))
    if len(wrong) <= len(both.rows) / 2:
      return ""
  first = results[int(both.rows[wrong[0]])]
  return (f"{name}: {len(wrong)} of {len(both.rows)} boxes do not fit the masks of their results "
          f"(result {both.rows[wrong[0]]}: bbox {first['bbox']}, bounds of the mask "
          f"{both.bounds[wrong[0]].tolist()}). {cause}. Boxes were scored as they are")


def _compare(rows: Sequence[Row]) -> _Compared:
  chosen = [index for index, row in enumerate(rows)
            if "bbox" in row and "segmentation" in row and min(row["bbox"][2:]) > 0]
  rles = [rows[index]["segmentation"] for index in chosen]
  bounds = mask_boxes(rles) if rles else np.zeros((0, 4))
  drawn = np.flatnonzero(bounds[:, 2] > 0)
  boxes = np.array([rows[index]["bbox"] for index in chosen], np.float64).reshape(-1, 4)
  sizes = np.array([rle["size"] for rle in rles], np.float64).reshape(-1, 2)
  return _Compared([chosen[index] for index in drawn], boxes[drawn], bounds[drawn], sizes[drawn],
                   [rles[index] for index in drawn])


def _fit(boxes, bounds, sizes):
  """Returns [N] bool, of boxes [x, y, width, height] cut at images of `sizes` (height, width)."""
  near = (np.abs(_cut(boxes, sizes) - _cut(bounds, sizes)) <= _FAR).all(1)
  return near | (_iou(boxes, bounds, sizes) >= _LEAST_IOU)


def _cut(boxes, sizes):
  """Returns the corners [x1, y1, x2, y2] inside of the images."""
  corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
  return np.clip(corners, 0, sizes[:, [1, 0, 1, 0]])


def _iou(boxes, bounds, sizes):
  one, other = _cut(boxes, sizes), _cut(bounds, sizes)
  sides = np.minimum(one, other)[:, 2:] - np.maximum(one, other)[:, :2]
  shared = sides.clip(0).prod(1)
  areas = [(corners[:, 2:] - corners[:, :2]).clip(0).prod(1) for corners in (one, other)]
  return shared / np.maximum(sum(areas) - shared, 1e-9)


def _find_cause(both: _Compared, wrong: np.ndarray):
  """Returns the reading of boxes by which most of these misfits fit, or None; and a sentence."""
  boxes, bounds, sizes = both.boxes[wrong], both.bounds[wrong], both.sizes[wrong]
  shares = {reading: _fit(read(boxes, sizes), bounds, sizes).mean()
            for reading, read in _READINGS.items()}
  by_rows = mask_boxes([_read_along_rows(both.rles[index]) for index in wrong[:_SAMPLE]])
  shares[_ROWS] = _fit(boxes[:_SAMPLE], by_rows, sizes[:_SAMPLE]).mean()
  best = max(shares, key=lambda reading: shares[reading])
  if shares[best] < 0.5:
    return None, _NO_CAUSE
  return _READINGS.get(best), f"{shares[best]:.0%} of them fit {best}"


def _read_along_rows(rle: Rle) -> Rle:
  mask = decode_mask(rle)
  return encode_mask(mask.ravel(order="F").reshape(mask.shape))
