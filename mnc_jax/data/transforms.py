"""One record to the arrays of one row of a `Batch`: resize, box masks, flip, pad."""

from typing import NamedTuple

import cv2
import numpy as np

from mnc_jax.data.records import Record
from mnc_jax.structs import MASK_SIDE


class Example(NamedTuple):
  """One image at network scale with its n instances; the fields are those of `Batch`.

  Attributes:
    image: [h, w, 3] uint8.
    boxes: [n, 4] float32.
    labels: [n] int32.
    masks: [n, 112, 112] uint8.
    areas: [n] float32.
    crowd: [n] bool.
  """
  image: np.ndarray
  boxes: np.ndarray
  labels: np.ndarray
  masks: np.ndarray
  areas: np.ndarray
  crowd: np.ndarray


def resize_record(record: Record, size: tuple[int, int]) -> Example:
  """Returns the record at `size` (height, width); see `make_example`."""
  return make_example(record, resize_image(record.image, size))


def make_example(record: Record, image: np.ndarray) -> Example:
  """Returns a record of which `image` is the image at network scale, masks inside their boxes.

  Boxes are the tight boxes of the masks, `x2` and `y2` one past the last pixel, scaled by
  the exact ratio of the sizes. Masks of no pixel get an empty box at the origin.
  """
  height, width = record.image.shape[:2]
  scale_y, scale_x = image.shape[0] / height, image.shape[1] / width
  tight = tight_boxes(record.masks)
  scale = np.array([scale_x, scale_y, scale_x, scale_y])
  pixels = np.array([mask[y1:y2, x1:x2].sum(dtype=np.int64)
                     for mask, (x1, y1, x2, y2) in zip(record.masks, tight, strict=True)], np.int64)
  return Example(
      image=image, boxes=(tight * scale).astype(np.float32),
      labels=record.labels, masks=crop_masks(record.masks, tight),
      areas=(pixels * (scale_x * scale_y)).astype(np.float32), crowd=record.crowd)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Returns the image at `size` (height, width): pixel areas when shrinking, else bilinear.

  By OpenCV: no filter of Pillow takes pixel areas (differences of up to 31 grey levels on
  photographs), and its bilinear one, equal to within one level, takes seven times as long.
  """
  if image.shape[:2] == tuple(size):
    return image
  shrinks = size[0] < image.shape[0]
  return cv2.resize(image, (int(size[1]), int(size[0])),
                    interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def tight_boxes(masks: np.ndarray) -> np.ndarray:
  """Returns [n, 4] int64 `[x1, y1, x2, y2)` of [n, h, w] masks; zeros for empty masks."""
  boxes = np.zeros((len(masks), 4), np.int64)
  for box, mask in zip(boxes, masks, strict=True):
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size:
      columns = np.flatnonzero(mask[rows[0]:rows[-1] + 1].any(axis=0))
      box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
  return boxes


def crop_masks(masks: np.ndarray, boxes: np.ndarray) -> np.ndarray:
  """Returns [n, 112, 112] uint8: `masks` inside their integer `boxes`, resampled, >= .5.

  Of a thin object, which fills few cells by half, the cells are taken that have the largest IoU
  with it.
  """
  crops = np.zeros((len(masks), MASK_SIDE, MASK_SIDE), np.uint8)
  for crop, mask, (x1, y1, x2, y2) in zip(crops, masks, boxes, strict=True):
    if x2 > x1:
      cells = _resize_mask(mask[y1:y2, x1:x2].astype(np.float32))
      crop[:] = cells >= (_best_threshold(cells) if _is_thin(cells) else 0.5)
  return crops


def _is_thin(cells):
  """Returns whether the cells filled by half are less than .75 of an object's area in cells."""
  return np.count_nonzero(cells >= 0.5) < 0.75 * cells.sum()


def _best_threshold(cells):
  """Returns the least share of a cell among those that have the largest IoU with an object."""
  fullest = np.sort(cells, axis=None)[::-1]
  overlap = np.cumsum(fullest, dtype=np.float64)
  return fullest[(overlap / (overlap[-1] + np.arange(1, cells.size + 1) - overlap)).argmax()]


def _resize_mask(mask):
  """Returns [112, 112]: pixel areas along sides that shrink, bilinear along the others."""
  # OpenCV's area enlargement would be nearest neighbour, for both sides if one is enlarged.
  height, width = (min(side, MASK_SIDE) for side in mask.shape)
  shrunk = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
  return cv2.resize(shrunk, (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_LINEAR)


def flip_example(example: Example) -> Example:
  """Returns the example mirrored left to right."""
  width = example.image.shape[1]
  x1, y1, x2, y2 = example.boxes.T
  return example._replace(
      image=example.image[:, ::-1], masks=example.masks[:, :, ::-1],
      boxes=np.stack([width - x2, y1, width - x1, y2], axis=1))


def keep_largest(example: Example, max_instances: int) -> tuple[Example, np.ndarray]:
  """Splits off the instances of an example beyond its `max_instances` largest.

  Returns:
    `(example, boxes)`: with the largest alone, in their order; and the boxes [n, 4] of the others.
  """
  if len(example.labels) <= max_instances:
    return example, example.boxes[:0]
  by_area = np.argsort(-example.areas, kind="stable")
  kept = np.sort(by_area[:max_instances])
  largest = {name: getattr(example, name)[kept] for name in Example._fields[1:]}
  return example._replace(**largest), example.boxes[by_area[max_instances:]]


def pad_rows(array: np.ndarray, count: int) -> np.ndarray:
  """Returns [count, ...]: the array with zero rows added at the end."""
  return np.concatenate([array, np.zeros((count - len(array), *array.shape[1:]), array.dtype)])


def pad_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Returns the image with zeros right and below, to `size` (height, width)."""
  padded = np.zeros((*size, 3), np.uint8)
  padded[:image.shape[0], :image.shape[1]] = image
  return padded
