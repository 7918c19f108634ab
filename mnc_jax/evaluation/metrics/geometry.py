"""Masks and boxes of COCO records, as pycocotools takes them."""

from typing import Any

from mnc_jax.coco.rle import Rle, mask_area, mask_box
from mnc_jax.coco.segmentation import read_segmentation


def read_shape(record: dict[str, Any], image: dict[str, Any], kind: str) -> Rle | list[float]:
  """Returns the record's mask as RLE ("segm"), or its box [x, y, width, height] ("bbox").

  The box of a record without `bbox` is the bounds of its mask.

  Args:
    record: an annotation or result; its segmentation is polygons or any RLE.
    image: the record of its image, with `id`, `height` and `width`.
    kind: "segm" or "bbox".

  Raises:
    ValueError: if the mask is bad or of another size than its image, naming image and category.
  """
  if kind == "bbox" and "bbox" in record:
    return record["bbox"]
  try:
    mask = read_segmentation(record["segmentation"], image["height"], image["width"])
  except ValueError as error:
    raise ValueError(f"image {image['id']}: a mask of category {record['category_id']} cannot be "
                     f"used: {error}") from None
  return mask if kind == "segm" else mask_box(mask)


def read_area(record: dict[str, Any], image: dict[str, Any]) -> float:
  """Returns the `area` of an annotation `record`; without one the pixels of its mask, or box.

  It decides whether an instance is small, medium or large, for boxes too. COCO's files have the
  area of the polygons, which differs slightly from the number of pixels.
  """
  if "area" in record:
    return float(record["area"])
  return measure_area(read_shape(record, image, "segm" if "segmentation" in record else "bbox"))


def measure_area(shape: Rle | list[float]) -> float:
  """Returns the pixels of a `shape`: of an RLE, or the width times height of a box."""
  return float(mask_area(shape)) if isinstance(shape, dict) else float(shape[2] * shape[3])
