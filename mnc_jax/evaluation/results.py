"""From instances in network pixels to records in COCO's results format."""

import collections
from collections.abc import Iterable, Iterator, Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np

from mnc_jax.coco.rle import encode_masks
from mnc_jax.ops.masks import paste_masks
from mnc_jax.structs import Array, ImageInfo, Instances

# Image sides are rounded up to it while pasting, so that a data set needs few compilations.
_SIDE_STEP = 64
# Pixels pasted at a time (64 MB of float32): 100 masks of a large photograph would be gigabytes.
_CHUNK_PIXELS = 2**24


def instances_to_results(
    instances: Instances, info: ImageInfo, category_ids: Sequence[int], *, mask_threshold: float
    ) -> list[dict]:
  """Writes the instances of a batch as COCO results, with masks at the size of the image files.

  Each mask becomes RLE at once, to keep thousands of images small. An instance whose mask exceeds
  the threshold in no pixel of the image (thinner than a pixel, or faint) is dropped: no protocol
  could match it.

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
      one = Instances(*(np.asarray(column)[index] for column in instances[:5]))
      one = Instances(*(column[one.valid] for column in one[:5]))
      size = tuple(map(int, info.original_sizes[index]))
      one = one._replace(boxes=to_file_pixels(one.boxes, info.scales[index]))
      records += instances_to_records(
          one, size, image_id=image_id, category_ids=category_ids,
          mask_threshold=mask_threshold)
  return records


def to_file_pixels(boxes: Array, scales: Array) -> np.ndarray:
  """Returns boxes [n, 4] of the network input in pixels of the file, float32.

  Args:
    boxes: in pixels of the network input.
    scales: [2] (down, across), network pixels per pixel of the file.
  """
  return (np.asarray(boxes, np.float64) / np.tile(scales[::-1], 2)).astype(np.float32)


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
  rles = [rle if mask.any() else None
          for masks in paste_binary(instances.masks, instances.boxes, size, mask_threshold)
          for rle, mask in zip(encode_masks(masks), masks, strict=True)]
  boxes = clip_corners(instances.boxes, size)
  return [
      {"image_id": image_id, "category_id": int(category_ids[label - 1]),
       "bbox": [round(float(x), 2) for x in (*box[:2], *(box[2:] - box[:2]))],
       "score": float(score), "segmentation": rle}
      for box, label, score, rle in zip(boxes, instances.labels, instances.scores, rles,
                                        strict=True)
      if rle is not None]


def clip_corners(boxes: Array, size: tuple[int, int]) -> np.ndarray:
  """Returns `boxes` [n, 4] cut at an image of `size` (height, width).

  Masks are pasted with the boxes before: a clipped box would squeeze its mask.
  """
  return np.clip(np.asarray(boxes), 0, np.array([size[1], size[0]] * 2))


def paste_binary(masks: Array, boxes: Array, size: tuple[int, int], mask_threshold: float
                 ) -> Iterator[np.ndarray]:
  """Yields [k, height, width] uint8, the masks in an image of `size`, a few at a time."""
  rounded = [-(-side // _SIDE_STEP) * _SIDE_STEP for side in size]
  chunk = max(1, _CHUNK_PIXELS // (rounded[0] * rounded[1]))
  # A power of two, at most 16: another number of instances is not another compilation.
  chunk = 2 ** (min(chunk, 16).bit_length() - 1)
  for start in range(0, len(masks), chunk):
    some, frames = masks[start:start + chunk], boxes[start:start + chunk]
    count, missing = len(some), chunk - len(some)
    pasted = _paste(np.pad(some, ((0, missing), (0, 0), (0, 0))),
                    np.pad(frames, ((0, missing), (0, 0))), mask_threshold, *rounded)
    yield np.asarray(pasted)[:count, :size[0], :size[1]]


@functools.partial(jax.jit, static_argnums=(3, 4))
def _paste(masks, boxes, mask_threshold, height, width):
  return (paste_masks(masks, boxes, height, width) > mask_threshold).astype(jnp.uint8)
