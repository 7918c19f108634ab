"""Random changes of training images: turn, scale, crop, colour. Each is a field of `DataConfig`.

All randomness comes from a generator that the caller seeds with seed, step and slot in the batch,
so that the images do not depend on the number of workers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from mnc_jax.config import DataConfig
from mnc_jax.data import transforms
from mnc_jax.data.records import Record

_LUMA = np.array([0.299, 0.587, 0.114])  # Of red, green and blue (Rec. 601).


class View(NamedTuple):
  """A random view of a record, whose masks are still in pixels of the file.

  Attributes:
    record: turned and cropped, in pixels of the file.
    image: [h, w, 3] uint8, all of `record.image` at network scale, its colours changed.
  """
  record: Record
  image: np.ndarray


def draw_view(rng: np.random.Generator, record: Record, config: DataConfig, *,
              scale: float, bucket: tuple[int, int]) -> View:
  """Returns a random view of a record at network scale: turned, cropped, scaled and coloured.

  With every field at its default it is the record at `scale`, unchanged.

  Args:
    rng: of this image in this step.
    record: in pixels of the file.
    config: `turn`, `scale_jitter`, `crop_share`, `invert`, `color_jitter`; `crop_size` is in
      `bucket`.
    scale: network pixels per pixel of the file, before jitter.
    bucket: (height, width) that the view must not exceed; it is cropped to it.
  """
  if config.turn:
    record = turn_record(record, draw_turns(rng, bucket))
  scale *= draw_scale(rng, config.scale_jitter)
  # Half a pixel more is rounded away below.
  view = _draw_crop(rng, record, config.crop_share,
                    [max(1, int((side + 0.5) / scale)) for side in bucket])
  sides = np.array(view.image.shape[:2]) * scale
  size = np.minimum(np.maximum(np.rint(sides), 1), bucket).astype(int)
  image = transforms.resize_image(view.image, tuple(size))
  if config.invert and rng.random() < 0.5:
    image = cv2.bitwise_not(image)
  if config.color_jitter:
    image = jitter_colors(rng, image, config.color_jitter)
  return View(view, image)


def _draw_crop(rng, record, share, most):
  """Returns a random part of a record, with a part of an instance if it has any."""
  size, boxes = record.image.shape[:2], transforms.tight_boxes(record.masks)[~record.crowd]
  view = crop_record(record, draw_window(rng, size, boxes, share=share, most=most))
  if not boxes.any() or not view.crowd.all():
    return view
  # The window is inside a larger instance, but beside its mask.
  pixel = _draw_pixel(rng, record)
  return crop_record(record, draw_window(rng, size, pixel, share=share, most=most))


def _draw_pixel(rng, record):
  """Returns the box [1, 4] of a pixel of an instance."""
  mask = record.masks[rng.choice(np.flatnonzero(~record.crowd & record.masks.any(axis=(1, 2))))]
  y, x = divmod(int(rng.choice(np.flatnonzero(mask))), mask.shape[1])
  return np.array([[x, y, x + 1, y + 1]])


def draw_turns(rng: np.random.Generator, bucket: tuple[int, int]) -> int:
  """Returns 0, 1, 2 or 3 quarter turns drawn by `rng`; 0 or 2 if `bucket` is not square."""
  turns = int(rng.integers(4))
  return turns if bucket[0] == bucket[1] else 2 * (turns % 2)


def turn_record(record: Record, turns: int) -> Record:
  """Returns the record turned counter-clockwise by `turns` quarter turns: views, not copies."""
  return record._replace(image=np.rot90(record.image, turns),
                         masks=np.rot90(record.masks, turns, axes=(1, 2)))


def flip_view(view: View) -> View:
  """Returns the view mirrored left to right."""
  record = view.record._replace(image=view.record.image[:, ::-1],
                                masks=view.record.masks[:, :, ::-1])
  return View(record, view.image[:, ::-1])


def draw_scale(rng: np.random.Generator, jitter: tuple[float, float]) -> float:
  """Returns a factor in `jitter` drawn by `rng`, its log uniform: half is as likely as twice."""
  low, high = np.log(jitter)
  return float(np.exp(rng.uniform(low, high)))


def draw_window(rng: np.random.Generator, size: Sequence[int], boxes: np.ndarray, *, share: float,
                most: Sequence[int]) -> tuple[int, int, int, int]:
  """Draws a part of an image that keeps the box of an instance.

  One instance is drawn; the window contains it, or is inside it along the axes on which the
  instance is longer, where its mask may have a gap. Without instances the window may be anywhere.

  Args:
    rng: a generator.
    size: (height, width) of the image.
    boxes: [n, 4] int `[x1, y1, x2, y2)`; empty ones are ignored.
    share: the window's sides are drawn between this share of the image's and all of it.
    most: (height, width) of the largest window allowed.

  Returns:
    `(x1, y1, x2, y2)`, whole pixels inside the image, at least one.
  """
  boxes = boxes[boxes[:, 2] > boxes[:, 0]]
  spans = np.array([[0, 0, size[1], size[0]]]) if len(boxes) == 0 else boxes
  x1, y1, x2, y2 = spans[rng.integers(len(spans))]
  top, bottom = _draw_span(rng, size[0], (y1, y2), share, most[0])
  left, right = _draw_span(rng, size[1], (x1, x2), share, most[1])
  return left, top, right, bottom


def _draw_span(rng, whole, kept, share, most):
  length = int(np.clip(round(whole * rng.uniform(share, 1)), 1, min(most, whole)))
  # Starts that keep all of `kept`, or if it is longer, are inside it.
  first, last = sorted((kept[1] - length, kept[0]))
  start = int(rng.integers(max(first, 0), min(last, whole - length) + 1))
  return start, start + length


def crop_record(record: Record, window: tuple[int, int, int, int]) -> Record:
  """Returns the part of a record inside a window; instances of no pixel there are dropped."""
  x1, y1, x2, y2 = window
  view = record._replace(image=record.image[y1:y2, x1:x2], masks=record.masks[:, y1:y2, x1:x2])
  return keep_instances(view, np.asarray(view.masks.any(axis=(1, 2))))


def keep_instances(record: Record, kept: np.ndarray) -> Record:
  """Returns the record with the instances of `kept` [n] bool alone; copies no masks if all are."""
  return record._replace(masks=record.masks if kept.all() else record.masks[kept],
                         labels=record.labels[kept], crowd=record.crowd[kept])


def jitter_colors(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
  """Changes saturation, contrast and brightness, each by a factor in 1 -+ `strength`.

  Saturation pulls each pixel towards its grey, contrast towards the mean grey of the image,
  brightness towards black.

  Args:
    rng: a generator.
    image: [h, w, 3] uint8 RGB.
    strength: in [0, 1).
  """
  saturation, contrast, brightness = rng.uniform(1 - strength, 1 + strength, 3)
  mean = float(image.reshape(-1, 3).mean(axis=0) @ _LUMA)
  matrix = saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMA, (3, 1))
  offset = np.full((3, 1), (1 - contrast) * mean)
  # One affine map of the colours, which OpenCV rounds and clips to 0 ... 255.
  return cv2.transform(image, brightness * np.hstack([contrast * matrix, offset]))
