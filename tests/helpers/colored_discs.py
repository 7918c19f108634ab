"""Large images of discs, and a network that finds them by their colours."""

import cv2
import numpy as np

from helpers import tiny
from mnc_jax.evaluation import predict_image
from mnc_jax.model.trained import Model
from mnc_jax.structs import Instances

MASK_SIDE = 12
NAMES = ("disc", "part")
_REDS = range(30, 256, 15)  # Of the discs, in the order in which they are drawn.


def make_model(*, max_shrink=4.0, **inference) -> Model:
  """A model of 64 x 64 tiles without weights; the network must be replaced."""
  inference = {"max_shrink": max_shrink, "max_instances": 8, **inference}
  return Model({}, tiny.tiny_config(inference=inference), NAMES, (3, 7), {})


def draw_discs(size, discs) -> tuple[np.ndarray, np.ndarray]:
  """Returns an image [h, w, 3] of discs (x, y, radius) on black, and their masks [n, h, w]."""
  rows, columns = np.mgrid[:size[0], :size[1]] + 0.5
  masks = np.stack([np.hypot(columns - x, rows - y) < radius for x, y, radius in discs])
  image = np.zeros((*size, 3), np.uint8)
  for mask, red in zip(masks, _REDS, strict=False):
    image[mask] = red, 255 - red, 0
  return image, masks


def find_discs(images, sizes) -> Instances:
  """Finds each disc in a batch, exactly. A part that a border cuts scores more, as a "part"."""
  found = [_find(image[:height, :width]) for image, (height, width) in zip(
      images, sizes, strict=True)]
  columns = (np.stack(column) for column in zip(*found, strict=True))
  return Instances(*columns, np.zeros(len(images), int), np.zeros(len(images), int))


def _find(image, slots=8):
  boxes, scores = np.zeros((slots, 4), np.float32), np.zeros(slots, np.float32)
  masks = np.zeros((slots, MASK_SIDE, MASK_SIDE), np.float32)
  labels = np.zeros(slots, np.int32)
  # Half covered pixels are darker, but of the same hue.
  red, sum_ = image[..., 0].astype(float), image[..., :2].sum(axis=2, dtype=float)
  hues = np.where(sum_ > 128, red / np.maximum(sum_, 1), -1)
  inside = [np.abs(hues - level / 255) < 0.02 for level in _REDS]
  for slot, mask in enumerate(mask for mask in inside if mask.sum() > 12):
    rows, columns = np.nonzero(mask)
    x1, y1, x2, y2 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    boxes[slot] = x1, y1, x2, y2
    masks[slot] = cv2.resize(mask[y1:y2, x1:x2].astype(np.float32), (MASK_SIDE, MASK_SIDE))
    is_cut = min(x1, y1) == 0 or x2 == image.shape[1] or y2 == image.shape[0]
    labels[slot], scores[slot] = 1 + is_cut, 0.9 + 0.05 * is_cut
  order = np.argsort(-scores, kind="stable")
  return boxes[order], labels[order], scores[order], masks[order], scores[order] > 0


def replace_network(monkeypatch, find=find_discs) -> list:
  """Lets the network be `find`; returns a list that gets the shapes of its images."""
  shapes = []

  def run(params, images, sizes):
    shapes.append(images.shape)
    return find(images, sizes)

  monkeypatch.setattr(predict_image, "_compile", lambda configs: run)
  return shapes
