"""labelme (github.com/wkentaro/labelme): one JSON file per image.

Shapes of one label and `group_id` are one instance, as in its own export to COCO. `mask` shapes
have a PNG in base64 that covers their two points, the last pixels included. X-AnyLabeling,
which has this format, writes all four corners of rectangles, and turned ones as `rotation`.
"""

import base64
from collections.abc import Sequence
import math
import pathlib
from typing import Any

import numpy as np

from mnc_jax.coco.faults import Fault, FaultReport
from mnc_jax.coco.rle import decode_mask, encode_mask
from mnc_jax.coco.segmentation import read_segmentation
from mnc_jax.data.opening import open_image
from mnc_jax.data.readers.formats.converted import Converted, outline_ellipse, outline_rectangle

_RESERVED = ("__ignore__", "_background_")  # The first two lines of its lists of labels.
_OUTLINES = ("polygon", "rectangle", "rotation", "oriented_rectangle")  # If all corners are given.
_FLAT = ("point", "points", "line", "linestrip")


def is_labelme(content: Any) -> bool:
  """Returns whether a JSON file is labelme's."""
  return isinstance(content, dict) and isinstance(content.get("shapes"), list) and (
      "imagePath" in content)


def convert_labelme(files: Sequence[tuple[pathlib.Path, dict]], report: FaultReport) -> Converted:
  """Returns the images and instances of files of labelme; bad shapes go to `report`.

  Args:
    files: (path, content).
    report: takes the faults.
  """
  found = Converted([], [])
  for image_id, (path, content) in enumerate(files, 1):
    size = content.get("imageHeight"), content.get("imageWidth")
    if not isinstance(content["imagePath"], str) or not all(
        isinstance(side, int) and side > 0 for side in size):
      report(Fault("image", f"{path}: imagePath, imageHeight and imageWidth are needed, not "
                            f"{content['imagePath']!r:.60}, {size[0]!r:.20}, {size[1]!r:.20}"))
      continue
    found.images.append({"id": image_id, "file_name": _relative_name(content["imagePath"]),
                         "height": size[0], "width": size[1]})
    for label, shapes in _group_shapes(path, content["shapes"], size, report):
      found.annotations.append({"image_id": image_id, "category": label,
                                "segmentation": _join_shapes(shapes, size)})
  return found


def _relative_name(name):
  """Returns the path of an image without the steps up from the folder of its JSON file."""
  name = name.replace("\\", "/")
  while name.startswith("../"):
    name = name.removeprefix("../")
  return name


def _group_shapes(path, shapes, size, report):
  """Returns (label, segmentations of its shapes) of each instance."""
  groups = {}
  for index, shape in enumerate(shapes):
    try:
      label, key = _check_shape(shape)
      segmentation = _convert_shape(shape, size)
      read_segmentation(segmentation, *size)
    except ValueError as error:
      report(Fault("annotation", f"{path}: shape {index}: {error}"))
    else:
      group = (label, key) if key is not None else (label, None, index)
      groups.setdefault(group, []).append(segmentation)
  return [(group[0], found) for group, found in groups.items()]


def _check_shape(shape):
  """Returns the label, without spaces around it, and group of a shape that has points."""
  label = shape.get("label") if isinstance(shape, dict) else None
  if not isinstance(label, str) or not label.strip():
    raise ValueError("an object with a 'label' is needed")
  if label.strip() in _RESERVED:
    raise ValueError(f"left out, since labelme keeps the label {label.strip()!r} for what is no "
                     "object")
  points, group = shape.get("points"), shape.get("group_id")
  if not isinstance(points, list) or not all(
      isinstance(point, list) and len(point) == 2 and all(map(_is_number, point))
      for point in points):
    raise ValueError("'points' is not a list of [x, y]")
  if group is not None and not isinstance(group, int | str):
    raise ValueError(f"group_id {group!r:.60} is neither a number nor text")
  return label.strip(), group


def _is_number(value):
  return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _convert_shape(shape, size):
  points, kind = shape["points"], shape.get("shape_type") or "polygon"  # Old files have null.
  if kind in _OUTLINES and len(points) >= 3:
    return [[number for point in points for number in point]]
  if kind in ("rectangle", "circle", "mask") and len(points) == 2:
    first, last = points
    if kind == "rectangle":
      return [outline_rectangle(*first, *last)]
    if kind == "circle":
      return [outline_ellipse(first, [math.dist(first, last)] * 2, 0.0)]
    return _place_mask(shape.get("mask"), first, last, size)
  if kind in (*_OUTLINES, *_FLAT, "circle", "mask"):
    raise ValueError(f"a {kind} of {len(points)} points has no area")
  raise ValueError(f"a shape of the type {kind!s:.20} is not read: draw it as a polygon")


def _place_mask(encoded, first, last, size):
  try:
    pixels = np.asarray(open_image(base64.b64decode(encoded))) > 0
  except (TypeError, ValueError) as error:
    raise ValueError("'mask' is not a PNG in base64") from error
  (left, top), (right, bottom) = (map(int, point) for point in (first, last))
  mask = np.zeros(size, np.uint8)
  if min(left, top) < 0 or mask[top:bottom + 1, left:right + 1].shape != pixels.shape:
    raise ValueError(f"'mask' of {pixels.shape} does not fit its points in an image of {size}")
  mask[top:bottom + 1, left:right + 1] = pixels
  return encode_mask(mask)


def _join_shapes(segmentations, size):
  if all(isinstance(found, list) for found in segmentations):
    return [polygon for found in segmentations for polygon in found]
  masks = [decode_mask(read_segmentation(found, *size)) for found in segmentations]
  return encode_mask(np.any(masks, axis=0).astype(np.uint8))
