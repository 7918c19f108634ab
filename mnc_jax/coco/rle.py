"""COCO's three spellings of a mask, checked: polygons, uncompressed and compressed RLE.

pycocotools trusts what it is given: lengths that do not fit the image would be read past
their end, and a polygon of two points would be taken for a box.
"""

import numpy as np
from pycocotools import mask as mask_api

_LONGEST_SHIFT = 30  # Bits; pycocotools reads lengths of 32.
_FARTHEST = 1e6  # Pixels.
# Pixels an image may have. Its RGB takes three bytes of each, and pycocotools keeps run lengths
# in 32 bits. Larger pictures are cut into tiles (11 600 x 11 600 still pass).
MOST_PIXELS = 2 ** 27
# Pixels, of all polygons of a mask. The rasteriser takes about 100 bytes of memory for each, and
# does not ask whether it got them.
_LONGEST_OUTLINE = 2 ** 22


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
  if height * width > MOST_PIXELS:
    raise ValueError(f"its image has {height} x {width} pixels, more than {MOST_PIXELS}")
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
  length = sum(map(_outline_length, checked))
  if length > _LONGEST_OUTLINE:
    raise ValueError(f"segmentation has polygons with outlines of {length:.0f} pixels, more than "
                     f"{_LONGEST_OUTLINE}")
  # Two points enclose nothing.
  outlines = [polygon for polygon in checked if len(polygon) >= 6]
  if not outlines:
    return mask_api.frPyObjects({"size": [height, width], "counts": [height * width]},
                                height, width)
  return mask_api.merge(mask_api.frPyObjects(outlines, height, width))


def _outline_length(polygon):
  """Returns the steps that the rasteriser takes along a polygon, in pixels."""
  points = np.reshape(polygon, (-1, 2))
  return np.abs(points - np.roll(points, 1, axis=0)).max(axis=1, initial=0).sum()


def _check_polygon(polygon):
  # numpy would read text and booleans as numbers.
  if not isinstance(polygon, list | tuple) or not all(
      type(number) in (int, float) or isinstance(number, np.number) for number in polygon):
    raise ValueError("segmentation has a polygon that is not a list of numbers")
  try:
    numbers = np.asarray(polygon, np.float64)
  except OverflowError:  # Whole numbers beyond any float.
    numbers = np.array([np.inf, np.inf])
  if len(numbers) % 2:
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
  if isinstance(counts, list) or not lengths[1:].all():
    return mask_api.frPyObjects(
        {"size": [height, width], "counts": _join_runs(lengths)}, height, width)
  return {"counts": counts}


def _join_runs(lengths):
  """Returns the same runs, none but the first of no pixels.

  Where both masks have such a run, pycocotools takes it for their end: the IoU of [3, 0, 5, 8]
  with itself is 0.
  """
  joined = [0]
  for place, length in enumerate(lengths.tolist()):
    if length and place % 2 == len(joined) % 2:
      joined.append(length)
    else:
      joined[-1] += length
  return joined


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
