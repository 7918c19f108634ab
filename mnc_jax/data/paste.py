"""Instances of one training image pasted on another: `DataConfig.copy_paste`.

Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation",
CVPR 2021. Differences: the pasted group may be anywhere, where the paper keeps its position in an
image of the same size; edges are not blended, which gained nothing there.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from mnc_jax.data import transforms
from mnc_jax.data.augment import View, keep_instances
from mnc_jax.data.records import Record

# Of an instance's pixels in the view: what is left of it under a paste, or it is dropped.
LEAST_LEFT = 0.1


def paste_view(rng: np.random.Generator, view: View, donor: View, *,
               max_instances: int) -> transforms.Example:
  """Returns a view with instances of another on it, as one group somewhere inside it.

  Pixels come from `donor.image` where the centre of a pixel is in a mask; boxes, masks and areas
  are those of `donor`, moved by whole pixels. A mask beneath loses the pixels of the file whose
  centre is covered, and its box and area follow.

  Args:
    rng: of this image in this step.
    view: the image below.
    donor: at most as large.
    max_instances: instances of `donor` that may be pasted: the largest, but no crowd regions.
  """
  chosen = draw_instances(rng, donor.record, max_instances=max_instances)
  pasted = keep_instances(donor.record, np.isin(np.arange(len(donor.record.labels)), chosen))
  layer, visible = draw_layer(pasted.masks, donor.image.shape[:2])
  if not visible.any():  # Also if none was chosen.
    return transforms.make_example(view.record, view.image)
  above = transforms.make_example(keep_instances(pasted, visible), donor.image)
  window, shift = draw_shift(rng, above.boxes, donor.image.shape, view.image.shape)
  x1, y1, x2, y2 = window
  to = slice(y1 + shift[1], y2 + shift[1]), slice(x1 + shift[0], x2 + shift[0])
  covered = np.zeros(view.image.shape[:2], bool)
  covered[to] = layer[y1:y2, x1:x2]
  image = view.image.copy()
  np.copyto(image[to], donor.image[y1:y2, x1:x2], where=covered[to][..., None])
  below = make_uncovered(view.record, covered, image)
  return _join(below, above._replace(boxes=above.boxes + np.array([*shift, *shift], np.float32)))


def draw_instances(rng: np.random.Generator, record: Record, *, max_instances: int) -> np.ndarray:
  """Returns in order the rows of some instances: each number of them from 1 is as likely.

  They are among the `max_instances` largest, as others are not trained on, and no crowd regions.
  """
  rows = np.arange(len(record.masks))
  if len(rows) > max_instances:
    rows = np.argsort(-_count_pixels(record.masks), kind="stable")[:max_instances]
  rows = rows[~record.crowd[rows]]
  if not len(rows):
    return rows
  return np.sort(rng.permutation(rows)[:rng.integers(1, len(rows) + 1)])


def draw_layer(masks: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
  """Draws masks [n, H, W] at another size, each pixel as the one of the file at its centre.

  So masks that share no pixel share none afterwards.

  Returns:
    `(layer, visible)`: [h, w] bool, the pixels of any mask; [n] bool, masks with a pixel there.
  """
  rows, columns = map(_centers, masks.shape[1:], size)
  layer, visible = np.zeros(size, bool), np.zeros(len(masks), bool)
  for index, (x1, y1, x2, y2) in enumerate(transforms.tight_boxes(masks)):
    (top, bottom), (left, right) = np.searchsorted(rows, [y1, y2]), np.searchsorted(
        columns, [x1, x2])
    part = masks[index][rows[top:bottom, None], columns[left:right]].astype(bool)
    layer[top:bottom, left:right] |= part
    visible[index] = part.any()
  return layer, visible


def _centers(pixels, count):
  """Returns [count]: of `pixels` the one at the centre of each of `count` that span the same."""
  return (2 * np.arange(count) + 1) * pixels // (2 * count)


def draw_shift(rng: np.random.Generator, boxes: np.ndarray, size: Sequence[int],
               target: Sequence[int]) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
  """Draws where a group of instances goes: anywhere inside, but what an edge cuts stays at it.

  Args:
    rng: a generator.
    boxes: [n, 4] of the group, n at least 1.
    size: (height, width) of their image.
    target: (height, width) of the image that gets them, at least as large.

  Returns:
    `(window, shift)`: the pixels `(x1, y1, x2, y2)` that hold the boxes, and (x, y) to add to them.
  """
  x1, y1 = np.floor(boxes[:, :2].min(axis=0)).astype(int).tolist()
  x2, y2 = np.ceil(boxes[:, 2:].max(axis=0)).astype(int).tolist()
  x2, y2 = min(x2, size[1]), min(y2, size[0])  # Float32 may be above a whole number.
  left = _draw_start(rng, (x1, x2), size[1], target[1])
  top = _draw_start(rng, (y1, y2), size[0], target[0])
  return (x1, y1, x2, y2), (left - x1, top - y1)


def _draw_start(rng, span, side, target):
  last = target - (span[1] - span[0])
  if span[0] == 0:
    return 0
  return last if span[1] == side else int(rng.integers(last + 1))


def make_uncovered(record: Record, covered: np.ndarray, image: np.ndarray) -> transforms.Example:
  """Returns `make_example` of a record without the mask pixels whose centres are covered.

  Dropped are instances of which less than `LEAST_LEFT` is left, and crowd regions of no pixel.

  Args:
    record: in pixels of the file.
    covered: [h, w] bool of the same image at any scale.
    image: it at network scale.
  """
  rows, columns = map(_centers, covered.shape, record.masks.shape[1:])
  covered = covered[rows[:, None], columns]
  # One at a time: a copy of all masks would be 3.6 GB for 300 instances of 12 megapixels.
  examples = [transforms.make_example(_hide_pixels(_take(record, index, index + 1), covered), image)
              for index in range(len(record.labels))]
  return _join(transforms.make_example(_take(record, 0, 0), image), *examples)


def _take(record, start, stop):
  """Returns the record with some of its instances, whose masks are not copied."""
  return record._replace(**{name: getattr(record, name)[start:stop]
                            for name in ("masks", "labels", "crowd")})


def _hide_pixels(record, covered):
  """Returns a record of one instance without its covered pixels, or with none if it is dropped."""
  (x1, y1, x2, y2), = transforms.tight_boxes(record.masks)
  hidden, before = covered[y1:y2, x1:x2], record.masks[0, y1:y2, x1:x2]
  if not hidden.any():
    return record
  left = np.count_nonzero(before[~hidden])
  if left < (1 if record.crowd[0] else LEAST_LEFT * np.count_nonzero(before)):
    return _take(record, 0, 0)
  masks = record.masks.copy(order="K")
  masks[0, y1:y2, x1:x2][hidden] = 0
  return record._replace(masks=masks)


def _count_pixels(masks):
  return np.array([cv2.countNonZero(mask) for mask in masks], np.int64)


def _join(first, *others):
  rows = {name: np.concatenate([getattr(example, name) for example in (first, *others)])
          for name in transforms.Example._fields[1:]}
  return first._replace(**rows)
