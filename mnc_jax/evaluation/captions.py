"""Text at the boxes of a drawing."""

from collections.abc import Sequence
import warnings

import cv2
import numpy as np

SMALL = 256  # Pixels of the short side; below it letters are small and lines thin.
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_DRAWS_ALL_LETTERS = int(cv2.__version__.split(".")[0]) >= 5


def write_labels(canvas: np.ndarray, boxes: Sequence, texts: Sequence[str],
                 colors: Sequence[tuple]) -> None:
  """Writes a label at each box, the best instance's first, where it hides no other label."""
  if not _DRAWS_ALL_LETTERS and not all(text.isascii() for text in texts):
    warnings.warn("OpenCV 4 draws ? for letters of category names that are not ASCII: install "
                  "opencv-python-headless 5 or later", stacklevel=2)
  scale, written = _text_scale(canvas.shape[:2]), []
  for box, text, color in zip(boxes, texts, colors, strict=True):
    if text:
      size, rise = _text_size(text, scale)
      taken = [area for area, *_ in written]
      written.append((_place_label(box, size, canvas.shape, taken), rise, text, color))
  for area, rise, text, color in reversed(written):
    _write_label(canvas, area, rise, text, color, scale)


def covered_share(size: Sequence[int], texts: Sequence[str]) -> float:
  """Returns the share of a picture of `size` (height, width) that labels would cover together."""
  scale = _text_scale(size)
  areas = [np.prod(_text_size(text, scale)[0]) for text in texts if text]
  return float(sum(areas) / (size[0] * size[1]))


def _text_scale(size):
  side = min(size)
  return np.clip(side / 1200, 0.3 if side < SMALL else 0.42, 3.0)


def _text_size(text, scale):
  """Returns the (width, height) of a label, and the rise of its baseline from its bottom."""
  (width, _), _ = cv2.getTextSize(text, _FONT, scale, _stroke(scale))
  # Of letters high and low, so that all labels are of one height.
  (_, height), below = cv2.getTextSize("Ag", _FONT, scale, _stroke(scale))
  pad = round(8 * scale)
  return (width + 2 * pad, height + below + pad), below + pad // 2


def _stroke(scale):
  return 1 if scale < 0.8 else 2


def _place_label(box, size, shape, taken):
  """Returns (x1, y1, x2, y2) of a label: above the box, else in it, below it, or at its right.

  It may cover its own box only if that is large, and other labels (`taken`) least of all.
  """
  x1, y1, x2, y2 = box
  width, height = size
  tries = ((x1, y1 - height), (x1, y1), (x1, y2), (x2 - width, y1 - height), (x2 - width, y2),
           (x2 - width, y1), (x1, y2 - height))
  left, top = np.transpose(tries).clip(0, np.array([[shape[1] - width], [shape[0] - height]]))
  # A label wider than the image begins at its left.
  left, top = left.clip(0), top.clip(0)
  areas = np.stack([left, top, left + width, top + height], axis=1)
  small = (x2 - x1) * (y2 - y1) < 8 * width * height
  avoided = taken + [box] if small else taken
  covered = _overlap(areas, np.reshape(avoided, (-1, 4))).sum(axis=1)
  return tuple(areas[covered.argmin()].tolist())


def _overlap(areas, others):
  """Returns [n, m], the pixels that n areas share with m others, both (x1, y1, x2, y2)."""
  one, other = np.atleast_2d(areas)[:, None], np.atleast_2d(others)[None]
  sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
  return sides.clip(0).prod(axis=2)


def _write_label(canvas, area, rise, text, color, scale):
  cv2.rectangle(canvas, area[:2], (area[2] - 1, area[3] - 1), color, cv2.FILLED)
  # Rec. 601 luma decides between black and white letters.
  ink = (0, 0, 0) if np.dot(color, (0.299, 0.587, 0.114)) > 110 else (255, 255, 255)
  origin = (area[0] + round(8 * scale), area[3] - rise)
  cv2.putText(canvas, text, origin, _FONT, scale, ink, _stroke(scale), cv2.LINE_AA)
