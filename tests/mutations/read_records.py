"""What any data set must give, however damaged its files were: checked from scratch."""

import numpy as np
from pycocotools import mask as mask_api

from mnc_jax.data.transforms import resize_record
from mutations.outcomes import require


def check_annotations(annotations, size, category_ids, seen) -> None:
  """Checks annotations of one image against its (height, width); `seen` collects their ids."""
  for one in annotations:
    require(type(one["id"]) is int and one["id"] not in seen, f"id {one['id']} twice")
    seen.add(one["id"])
    require(one["category_id"] in category_ids, f"category {one['category_id']}")
    require(one["iscrowd"] in (0, 1), f"iscrowd {one['iscrowd']!r}")
    mask = mask_api.decode(one["segmentation"])
    require(mask.shape == tuple(size), f"mask of {mask.shape} in an image of {size}")
    require(mask.any() and mask.max() == 1, "an empty mask")
    require(_is_box(one["bbox"]), f"bbox {one['bbox']!r}")
    require(np.isfinite(one["area"]) and one["area"] >= 0, f"area {one['area']!r}")
    _check_bounds(one["segmentation"], mask)


def _is_box(box):
  return (len(box) == 4 and all(type(side) in (int, float) for side in box)
          and bool(np.all(np.abs(box) < 1e9)) and min(box[2:]) > 0)


def _check_bounds(rle, mask):
  """The bounds that pycocotools computes of the RLE are those of its pixels."""
  rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
  bounds = [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
  require(mask_api.toBbox(rle).tolist() == bounds, f"RLE {rle} has other bounds than {bounds}")


def check_record(record, num_categories: int) -> None:
  """Checks a record, and the boxes that training makes of it."""
  height, width = record.image.shape[:2]
  count = len(record.labels)
  require(record.image.dtype == np.uint8 and record.image.shape == (height, width, 3), "the image")
  require(record.masks.shape == (count, height, width), f"masks of shape {record.masks.shape}")
  require(np.isin(record.masks, (0, 1)).all(), "masks that are not 0 or 1")
  require(record.masks.any(axis=(1, 2)).all(), "an empty mask")
  require(((record.labels >= 1) & (record.labels <= num_categories)).all(), "labels out of range")
  boxes = resize_record(record, (20, 30)).boxes
  require(np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all(), "boxes without extent")
  require((boxes >= 0).all() and (boxes <= (30, 20, 30, 20)).all(), "boxes outside the image")
