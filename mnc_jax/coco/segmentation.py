"""The segmentation of an annotation or result: polygons, or RLE of two kinds, checked and read.

pycocotools does not check its input: lengths that do not fit the image would be read past their
end, and a polygon of two points would be taken for a box.
"""

from typing import Any

import numpy as np

from mnc_jax.coco.rle import MOST_PIXELS, Rle, draw_outlines, encode_runs, with_text
from mnc_jax.coco.run_lengths import decompress_runs, join_runs

_FARTHEST = 1e6  # Pixels.
# Pixels, of all polygons of a mask. The rasteriser takes about 100 bytes of memory for each, and
# does not check that it got them.
_LONGEST_OUTLINE = 2 ** 22


def read_segmentation(segmentation: Any, height: int, width: int) -> Rle:
  """Returns the RLE of a mask in any of COCO's formats.

  Args:
    segmentation: a list of polygons `[x1, y1, x2, y2, ...]`, of which a single one may lack the
      outer list or be a list of points; or a dict of `size` (height, width) and `counts`, a list
      of lengths or the compressed text.
    height: rows of the image.
    width: columns of the image. Polygons are clipped to the image.

  Raises:
    ValueError: if it is neither, or RLE does not fit the image.
  """
  if height * width > MOST_PIXELS:
    raise ValueError(f"its image has {height} x {width} pixels, more than {MOST_PIXELS}")
  if isinstance(segmentation, dict):
    return _read_rle(segmentation, height, width)
  if isinstance(segmentation, list):
    return _draw_polygons(segmentation, height, width)
  raise ValueError(f"segmentation {segmentation!r:.60} is neither a list of polygons nor RLE")


def with_outer_list(polygons: list[Any]) -> list[Any]:
  """Returns a list of flat polygons; some tools write a single one flat, or as a list of points."""
  if polygons and all(type(item) in (int, float) for item in polygons):
    return [polygons]
  if len(polygons) >= 3 and all(isinstance(item, list) and len(item) == 2 for item in polygons):
    return [[number for point in polygons for number in point]]
  return polygons


def _draw_polygons(polygons, height, width):
  checked = [_check_polygon(polygon) for polygon in with_outer_list(polygons)]
  length = sum(map(_outline_length, checked))
  if length > _LONGEST_OUTLINE:
    raise ValueError(f"segmentation has polygons with outlines of {length:.0f} pixels, more than "
                     f"{_LONGEST_OUTLINE}")
  # Two points enclose nothing.
  outlines = [polygon for polygon in checked if len(polygon) >= 6]
  if not outlines:
    return encode_runs([height * width], height, width)
  return draw_outlines(outlines, height, width)


def _outline_length(polygon):
  """Returns the number of steps that the rasteriser takes along a polygon, in pixels."""
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
    lengths = decompress_runs(counts.encode() if isinstance(counts, str) else counts)
  elif isinstance(counts, list) and all(type(length) is int for length in counts):
    lengths = np.array(counts, object)  # Of integers of any size.
  else:
    raise ValueError("segmentation has counts that are neither text nor a list of integers")
  if lengths.sum() != height * width or lengths.min(initial=0) < 0:
    raise ValueError(f"segmentation has counts for {lengths.sum()} pixels, its image "
                     f"{height * width}")
  if isinstance(counts, list) or not lengths[1:].all():
    return encode_runs(join_runs(lengths), height, width)
  return with_text({"size": [height, width], "counts": counts})
