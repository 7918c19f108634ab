"""COCO's three spellings of a mask, checked: polygons, uncompressed and compressed RLE.

pycocotools trusts what it is given: lengths that do not fit the image would be read past
their end, and a polygon of two points would be taken for a box.
"""

import numpy as np
from pycocotools import mask as mask_api

_LONGEST_SHIFT = 30  # Bits; pycocotools reads lengths of 32.
_FARTHEST = 1e6  # Pixels. The rasteriser takes memory by the length of the outline.


def read_segmentation(segmentation, height: int, width: int):
  """Returns the mask as compressed RLE, its counts as text.

  Args:
    segmentation: a list of polygons `[x1, y1, x2, y2, ...]`, or a dict of `size` (height,
      width) and `counts`, a list of lengths or the compressed text.
    height: rows of the image.
    width: columns of the image. What a polygon has outside is cut off.

  Raises:
    ValueError: if it is neither, or RLE does not fit the image.
  """
  if isinstance(segmentation, dict):
    rle = _read_rle(segmentation, height, width)
  elif isinstance(segmentation, list):
    rle = _draw_polygons(segmentation, height, width)
  else:
    raise ValueError(f"segmentation is a {type(segmentation).__name__}: neither polygons nor RLE")
  counts = rle["counts"]
  return {"size": [height, width],
          "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def _draw_polygons(polygons, height, width):
  checked = [_check_polygon(polygon) for polygon in polygons]
  # Two points enclose nothing.
  outlines = [polygon for polygon in checked if len(polygon) >= 6]
  if not outlines:
    return mask_api.frPyObjects({"size": [height, width], "counts": [height * width]},
                                height, width)
  return mask_api.merge(mask_api.frPyObjects(outlines, height, width))


def _check_polygon(polygon):
  try:
    numbers = np.asarray(polygon, np.float64)
  except (TypeError, ValueError, OverflowError):
    raise ValueError("segmentation has a polygon that is not a list of numbers") from None
  if numbers.ndim != 1 or len(numbers) % 2:
    raise ValueError("segmentation has a polygon that is not a flat list of x, y pairs")
  if not (np.abs(numbers) <= _FARTHEST).all():
    raise ValueError("segmentation has a polygon with a coordinate that is not finite, or beyond "
                     f"{_FARTHEST:.0f} pixels")
  return numbers.tolist()


def _read_rle(segmentation, height, width):
  size, counts = segmentation.get("size"), segmentation.get("counts")
  if not isinstance(size, list | tuple) or list(size) != [height, width]:
    raise ValueError(f"segmentation has the size {size} (height, width), its image "
                     f"[{height}, {width}]")
  if isinstance(counts, str | bytes):
    lengths = _decompress(counts.encode() if isinstance(counts, str) else counts)
  elif isinstance(counts, list) and all(type(length) is int for length in counts):
    lengths = np.array(counts, object)  # Of integers of any size.
  else:
    raise ValueError("segmentation has counts that are neither text nor a list of integers")
  if lengths.sum() != height * width or lengths.min(initial=0) < 0:
    raise ValueError(f"segmentation has counts for {lengths.sum()} pixels, its image "
                     f"{height * width}")
  if isinstance(counts, list):
    return mask_api.frPyObjects({"size": [height, width], "counts": counts}, height, width)
  return {"counts": counts}


def _decompress(text):
  """Returns the run lengths of compressed counts.

  Each character, less 48, holds five bits, the lowest first, and in its sixth bit whether
  more follow; from the fourth on, a number is the difference to the length two before.
  """
  codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
  if ((codes < 0) | (codes > 63)).any():
    wrong = text[int(np.argmax((codes < 0) | (codes > 63)))]
    raise ValueError(f"segmentation has the character {chr(wrong)!r} in its counts")
  last = codes < 32
  if not last[-1:].all():
    raise ValueError("segmentation has counts that are cut off")
  ends = np.flatnonzero(last)
  starts = np.append(0, ends[:-1] + 1)[:len(ends)]
  shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, ends - starts + 1))
  if shifts.max(initial=0) > _LONGEST_SHIFT:
    raise ValueError("segmentation has a length of more than 32 bits in its counts")
  numbers = np.add.reduceat((codes & 31) << shifts, starts) if len(codes) else codes
  numbers -= np.where(codes[ends] & 16, np.int64(32) << shifts[ends], 0)
  numbers[1::2], numbers[2::2] = np.cumsum(numbers[1::2]), np.cumsum(numbers[2::2])
  return numbers
