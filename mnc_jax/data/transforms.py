"""One record to the arrays of one row of a `Batch`: contrast, resize, box masks, flip, pad."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike

from mnc_jax.config import DataConfig
from mnc_jax.data.images import to_8_bits
from mnc_jax.data.records import BrokenImageError, Record
from mnc_jax.structs import MASK_SIDE

# An image that uses less of its range than this is reported. A camera of 14 bits in 16 uses less;
# of 446 photographs of COCO none does, of 220 microscope images 47.
SMALL_RANGE = 0.25
_PERCENTILES = (1.0, 99.8)
_NOISE = 8  # Levels.


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


def scale_factors(sizes: ArrayLike, short_side: int, long_side: int) -> np.ndarray:
  """Returns [N] float64 that bring `sizes` (h, w) to `short_side`, or less to keep `long_side`."""
  sizes = np.asarray(sizes, np.float64)
  return np.minimum(short_side / sizes.min(axis=1), long_side / sizes.max(axis=1))


def scaled_sizes(sizes: ArrayLike, short_side: int, long_side: int) -> np.ndarray:
  """Returns [N, 2] int32 `sizes` after scaling to `short_side` and `long_side`, at least 1."""
  scaled = np.asarray(sizes) * scale_factors(sizes, short_side, long_side)[:, None]
  return np.maximum(np.rint(scaled), 1).astype(np.int32)


def choose_buckets(sizes: ArrayLike, buckets: Sequence[tuple[int, int]], image_ids: np.ndarray, *,
                   name: str = "") -> np.ndarray:
  """Returns [N] int32, for each of `sizes` (h, w) which of `buckets` pads it least.

  Raises:
    BrokenImageError: if a size fits into none, naming the image by `image_ids`, or by `name`.
  """
  sizes, bounds = np.asarray(sizes), np.asarray(buckets)
  fits = np.all(sizes[:, None] <= bounds[None], axis=2)
  if not fits.any(axis=1).all():
    out = ~fits.any(axis=1)
    row, needed = int(out.argmax()), sizes[out].max(axis=0)
    others = f" (nor do {out.sum() - 1} others)" if out.sum() > 1 else ""
    name = name or f"image {image_ids[row]}"
    raise BrokenImageError(
        f"{name} is {sizes[row][0]} x {sizes[row][1]} (height x width) after scaling and fits into "
        f"none of data.buckets {tuple(buckets)}{others}: add one of {needed[0]} x {needed[1]} or "
        "more, or leave data.buckets empty, which follows data.short_side and data.long_side")
  areas = np.where(fits, bounds.prod(axis=1)[None], np.iinfo(np.int64).max)
  return areas.argmin(axis=1).astype(np.int32)


def adapt_image(image: np.ndarray, config: DataConfig) -> np.ndarray:
  """Returns the image, uint8 or uint16, as uint8 with the contrast that `config` asks for."""
  return stretch_contrast(image) if config.stretch_contrast else to_8_bits(image)


def stretch_contrast(image: np.ndarray) -> np.ndarray:
  """Maps the intensities of an image linearly to 0 ... 255, and rounds.

  The depth of 16 bits is kept until then: of 4096 levels in use 256 are left, not 16.
  Its percentile 1 becomes 0 and its percentile 99.8 becomes 255, over all channels together,
  so that hues are kept; the percentiles are those of Schmidt et al. 2018 ("Cell Detection with
  Star-Convex Polygons"). Where both are equal, as in mostly empty images, minimum and
  maximum are used, unless they too are within 8 levels: single pixels of noise on one
  intensity are not stretched.

  Args:
    image: [h, w, 3] RGB, uint8 or uint16.

  Returns:
    [h, w, 3] uint8.
  """
  low, high = np.percentile(image, _PERCENTILES)
  if high <= low:
    low, high = float(image.min()), float(image.max())
    if high - low <= _NOISE:
      return to_8_bits(image)
  levels = np.arange(np.iinfo(image.dtype).max + 1)
  table = np.rint(np.clip((levels - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)
  return cv2.LUT(image, table) if image.dtype == np.uint8 else table[image]


def describe_range(image: np.ndarray, name: str, config: DataConfig) -> str:
  """Returns a sentence if an image whose contrast is not stretched uses little of its range.

  Args:
    image: [h, w, 3] RGB, uint8 or uint16.
    name: of the image, for the sentence.
    config: whether contrast is stretched.

  Returns:
    The sentence, or "" for at least a quarter of the range, or an image of one intensity.
  """
  if config.stretch_contrast:
    return ""
  share = range_share(image)
  if not 0 < share < SMALL_RANGE:
    return ""
  return (f"{name} uses {share:.1%} of its range of intensities, and others may too: "
          "data.stretch_contrast spreads them")


def range_share(image: np.ndarray) -> float:
  """Returns the share of the range of its type between percentiles 1 and 99.8 of an image.

  They are those of some 4000 pixels in a grid, which takes a tenth of a millisecond.

  Args:
    image: [h, w, 3] RGB, uint8 or uint16.
  """
  height, width = (max(side // 64, 1) for side in image.shape[:2])
  low, high = np.percentile(image[::height, ::width], _PERCENTILES)
  return float(high - low) / np.iinfo(image.dtype).max


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
