"""From instances in network pixels to records in COCO's results format."""

import collections
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mnc_jax.coco.rle import encode_window
from mnc_jax.ops.masks import MIN_EXTENT
from mnc_jax.structs import Array, ImageInfo, Instances


def instances_to_results(
    instances: Instances, info: ImageInfo, category_ids: Sequence[int], *, mask_threshold: float
    ) -> list[dict]:
  """Writes the instances of a batch as COCO results, with masks at the size of the image files.

  Boxes are those of the instances, not the bounds of the masks. Each mask becomes RLE at once, to
  keep thousands of images small. An instance whose mask exceeds the threshold in no pixel of the
  image (thinner than a pixel, or faint) is dropped: it has no box in the scores of boxes either.

  Args:
    instances: with leading B, from `predict`, on the host.
    info: the same B images. Images with id -1 are skipped.
    category_ids: of the data set, background not among them; label i is `category_ids[i - 1]`.
    mask_threshold: pixels above it belong to the instance.

  Returns:
    [{image_id, category_id, bbox: [x, y, width, height], score, segmentation: {size,
    counts}}], in pixels of the file, best first within an image.
  """
  records = []
  for index, image_id in enumerate(np.asarray(info.image_ids).tolist()):
    if image_id >= 0:
      one = to_file_pixels(take_image(instances, index), info.scales[index])
      height, width = map(int, info.original_sizes[index])
      records += instances_to_records(
          one, (height, width), image_id=image_id, category_ids=category_ids,
          mask_threshold=mask_threshold)
  return records


# Columns of `Instances` with a row for each.
ROWS = ("boxes", "labels", "scores", "masks", "valid", "mask_boxes")


def take_rows(instances: Instances, rows: Any) -> Instances:
  """Returns `instances` with the rows of each column that `rows`, any index of numpy, selects."""
  columns = {name: getattr(instances, name) for name in ROWS}
  return instances._replace(**{
      name: np.asarray(column)[rows] for name, column in columns.items() if column is not None})


def take_image(instances: Instances, index: int) -> Instances:
  """Returns one image of a batch: its rows without padding, and how much of it was dropped."""
  def count(values):
    values = np.asarray(values)  # [] is the default, 0.
    return values[index] if values.ndim else values

  one = take_rows(instances, index)._replace(
      dropped=count(instances.dropped), truncated_proposals=count(instances.truncated_proposals))
  return take_rows(one, one.valid)


def to_file_pixels(instances: Instances, scales: Array) -> Instances:
  """Returns instances of the network input with all boxes in pixels of the file, float32.

  Args:
    instances: of one image, boxes in pixels of the network input.
    scales: [2] (down, across), network pixels per pixel of the file.
  """
  boxes, mask_boxes = (
      (np.asarray(boxes, np.float64) / np.tile(scales[::-1], 2)).astype(np.float32)
      for boxes in (instances.boxes, instances.paste_boxes))
  return instances._replace(boxes=boxes, mask_boxes=mask_boxes)


def merge_shares(shares: Sequence[Sequence], image_ids: Iterable[int]) -> list[dict]:
  """Returns the results of a split that was predicted in parts, in the order of its images.

  So the order, which decides between equal scores, does not depend on the number of processes.

  Args:
    shares: [(ids of the images that were predicted, their COCO results)], one per process.
    image_ids: of the split.

  Raises:
    ValueError: unless each image of the split was predicted exactly once, naming the first
      that was not.
  """
  counts = collections.Counter(image_id for predicted, _ in shares for image_id in predicted)
  known = {int(image_id): index for index, image_id in enumerate(image_ids)}
  stray = sorted(counts.keys() - known.keys())
  wrong = [image_id for image_id in known if counts[image_id] != 1]
  if stray:
    raise ValueError(f"image {stray[0]} was predicted, but is not in the split")
  if wrong:
    raise ValueError(f"each of the {len(known)} images must be scored exactly once: {len(wrong)} "
                     f"were not, image {wrong[0]} was predicted {counts[wrong[0]]} times")
  return sorted((record for _, records in shares for record in records),
                key=lambda record: known[record["image_id"]])


def instances_to_records(instances: Instances, size: tuple[int, int], *, image_id: int,
                         category_ids: Sequence[int], mask_threshold: float) -> list[dict]:
  """Writes the instances of one image as COCO results, as `instances_to_results` does.

  Args:
    instances: without padding, boxes in pixels of the image.
    size: (height, width) of the image.
    image_id: of the image.
    category_ids: label i is `category_ids[i - 1]`.
    mask_threshold: pixels above it belong to the instance.

  Returns:
    A record for each instance with a pixel, in the same order.
  """
  records = []
  # One at a time: of a large image, the pasted masks of all would fill the memory.
  for box, label, score, mask, paste_box in zip(
      clip_to_image(instances.boxes, size), instances.labels, instances.scores,
      np.asarray(instances.masks), np.asarray(instances.paste_boxes), strict=True):
    window, inside = paste_binary(mask, paste_box, size, mask_threshold)
    if inside.any():
      records.append({
          "image_id": image_id, "category_id": int(category_ids[label - 1]),
          "bbox": [round(float(x), 2) for x in (*box[:2], *(box[2:] - box[:2]))],
          "score": float(score), "segmentation": encode_window(inside, window, size)})
  return records


def clip_to_image(boxes: Array, size: tuple[int, int]) -> np.ndarray:
  """Returns `boxes` [n, 4] cut at an image of `size` (height, width).

  Masks are pasted in `Instances.paste_boxes`, not clipped: a clipped box would squeeze its mask.
  """
  return np.clip(np.asarray(boxes), 0, np.array([size[1], size[0]] * 2))


def paste_binary(mask: np.ndarray, box: np.ndarray, size: tuple[int, int], mask_threshold: float
                 ) -> tuple[tuple[slice, slice], np.ndarray]:
  """Pastes one mask, by the formula of `ops.masks.paste_masks`, but only inside its box.

  With numpy: another size of the image or of the box is not another compilation. Where the mask
  equals the threshold to within rounding (1e-5), the two may differ.

  Args:
    mask: [M, M] probabilities inside the box.
    box: [4] float32, pixels of the image.
    size: (height, width) of the image.
    mask_threshold: pixels above it belong to the instance.

  Returns:
    `(window, inside)`: the rows and columns of the pixels whose centres are in the box, and bool
    of their shape. Both are empty if there are none. All other pixels are False.
  """
  rows, row_weights = _paste_axis(box[1], box[3], size[0], mask.shape[0])
  columns, column_weights = _paste_axis(box[0], box[2], size[1], mask.shape[1])
  return (rows, columns), row_weights @ mask @ column_weights.T > mask_threshold


def _paste_axis(low, high, side, cells):
  """Returns the pixels of an axis between low and high, and their weights [n, cells]."""
  low, high = float(low), float(high)
  if not high - low > MIN_EXTENT:
    return slice(0, 0), np.zeros((0, cells), np.float32)
  first, last = (int(np.clip(np.ceil(end - 0.5), 0, side)) for end in (low, high))
  positions = (np.arange(first, last) + 0.5 - low) / (high - low) * cells - 0.5
  distance = np.abs(np.clip(positions, 0, cells - 1)[:, None] - np.arange(cells))
  return slice(first, last), np.maximum(1 - distance, 0).astype(np.float32)
