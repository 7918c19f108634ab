"""VGG Image Annotator 1 and 2 (robots.ox.ac.uk/~vgg/software/via): one JSON file of all images.

A saved project has the images in `_via_img_metadata`; exported annotations are that object alone.
Regions are a list, or in VIA 1 an object. The category is a region attribute: the only one that the
file has, or one called class, label, category, type or name. Without attributes it is `object`.
"""

from collections.abc import Callable
import pathlib
from typing import Any

from mnc_jax.coco.faults import Fault, FaultReport
from mnc_jax.data.readers.formats.converted import Converted, outline_ellipse, outline_rectangle

_CATEGORIES = ("class", "label", "category", "type", "name")


def read_via_images(content: Any) -> list[dict] | None:
  """Returns the rows of the images if a JSON file is VIA's, else None."""
  images = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
  if not isinstance(images, dict) or not images or not all(
      isinstance(row, dict) and isinstance(row.get("filename"), str)
      and isinstance(row.get("regions"), dict | list)
      for row in images.values()):
    return None
  return list(images.values())


def convert_via(path: pathlib.Path, images: list[dict], measure: Callable[[str], tuple[int, int]],
                report: FaultReport) -> Converted:
  """Returns the images and instances of a file of VIA; what is bad goes to `report`.

  Args:
    path: of the file, for messages.
    images: as `read_via_images` returns them.
    measure: file name -> (height, width), which VIA does not write; raises ValueError.
    report: takes the faults.

  Raises:
    ValueError: if it is not clear which attribute is the category.
  """
  attribute, found = _find_attribute(path, images), Converted([], [])
  for image_id, row in enumerate(images, 1):
    try:
      height, width = measure(row["filename"])
    except ValueError as error:
      report(Fault("image", f"{path}: {error}"))
      continue
    found.images.append({"id": image_id, "file_name": row["filename"], "height": height,
                         "width": width})
    for index, region in enumerate(_regions(row)):
      try:
        found.annotations.append({
            "image_id": image_id, "category": _read_category(region, attribute),
            "segmentation": [_outline(region["shape_attributes"])]})
      except (IndexError, KeyError, TypeError, ValueError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else error
        report(Fault("annotation", f"{path}: region {index} of {row['filename']}: {reason}"))
  return found


def _regions(row):
  regions = row["regions"]
  return list(regions.values()) if isinstance(regions, dict) else regions


def _attributes(region):
  found = region.get("region_attributes") if isinstance(region, dict) else None
  return found if isinstance(found, dict) else {}


def _find_attribute(path, images):
  names = dict.fromkeys(
      name for row in images for region in _regions(row) for name in _attributes(region))
  preferred = sorted((name for name in names if name.lower() in _CATEGORIES),
                     key=lambda name: _CATEGORIES.index(name.lower()))
  if preferred or len(names) <= 1:
    return next(iter(preferred or names), None)
  raise ValueError(f"{path}: regions have the attributes {', '.join(names)}: call the one that is "
                   f"the category {_CATEGORIES[0]!r}")


def _read_category(region, attribute):
  if attribute is None:
    return "object"
  value = _attributes(region).get(attribute)
  if isinstance(value, dict):  # Check boxes: {option: true}.
    chosen = [name for name, is_chosen in value.items() if is_chosen]
    value = chosen[0] if len(chosen) == 1 else None
  if not isinstance(value, str) or not value.strip():
    raise ValueError(f"the attribute {attribute!r} has no single value")
  return value.strip()


def _outline(shape):
  kind = shape["name"]
  if kind in ("polygon", "polyline"):
    x, y = shape["all_points_x"], shape["all_points_y"]
    if kind == "polyline" and (x[0], y[0]) != (x[-1], y[-1]):
      raise ValueError("an open polyline has no area")
    return [number for point in zip(x, y, strict=True) for number in point]
  if kind == "rect":
    left, top = shape["x"], shape["y"]
    return outline_rectangle(left, top, left + shape["width"], top + shape["height"])
  if kind == "circle":
    return outline_ellipse((shape["cx"], shape["cy"]), (shape["r"], shape["r"]), 0.0)
  if kind == "ellipse":
    return outline_ellipse((shape["cx"], shape["cy"]), (shape["rx"], shape["ry"]),
                           shape.get("theta") or 0.0)
  raise ValueError(f"a {kind!s:.20} has no area")
