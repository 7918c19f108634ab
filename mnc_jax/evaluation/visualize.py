"""Instances drawn on images: masks, boxes, names and scores, alone and in sheets."""

from collections.abc import Sequence
import colorsys
from typing import Any

import cv2
import numpy as np

from mnc_jax.coco.rle import decode_window, encode_masks, mask_area, mask_box
from mnc_jax.data.contrast import stretch_contrast
from mnc_jax.data.images import DEFAULT_OPTIONS, image_options
from mnc_jax.data.user_images import to_rgb
from mnc_jax.evaluation.captions import SMALL, covered_share, write_labels
from mnc_jax.model.trained import Model
from mnc_jax.structs import Detections

_LARGEST = 2000  # Pixels of an enlarged image.
_LABELLED = 1 / 7  # Largest share of a picture that names and scores may cover together.
_FILL = 0.45  # Share of the instance's colour in its mask.
_BACKGROUND = (24, 26, 30)
_GOLDEN = 0.618034  # Steps of the golden ratio round the hues keep neighbours far apart.


def instance_color(index: int) -> tuple:
  """Returns the RGB colour (0 ... 255) of instance number `index`; neighbours differ clearly."""
  # A second cycle in lightness separates hues that come close after many steps.
  hue, lightness = (0.58 + index * _GOLDEN) % 1.0, (0.56, 0.66, 0.46)[index % 3]
  return tuple(round(255 * channel) for channel in colorsys.hls_to_rgb(hue, lightness, 0.85))


def draw(image: Any, found: Detections, *, model: Model | None = None, min_score: float = 0.0,
         min_side: int = 1) -> np.ndarray:
  """Draws what `detect` found in an image: masks, boxes, names and scores.

  Args:
    image: that was given to `detect`, a path or [h, w, 3] RGB; if it has more than 8 bits per
      channel, its contrast is stretched.
    found: in this image.
    model: that found it, or the first of several. A path is read as its `config.data` says (`exif`,
      `page`, `channels`), as by `detect`; None: as by default, upright.
    min_score: instances that score less are not drawn.
    min_side: a smaller image is enlarged by a whole factor, as by `draw_instances`.

  Returns:
    [h, w, 3] uint8 RGB, a multiple of it if enlarged. Nothing found: the image.

  Raises:
    ValueError: if the image is not of the size of the masks, or as `detect` (for a file with
      several pages or other channels give `model`).

  Example:
    >>> import mnc_jax
    >>> from mnc_jax.data.readers.drawing import draw_image
    >>> image = draw_image(1, 1).image  # [128, 128, 3] uint8 RGB.
    >>> found = mnc_jax.detect(mnc_jax.load("shapes"), image)
    >>> picture = mnc_jax.draw(image, found)
    >>> picture.shape
    (128, 128, 3)
  """
  options = DEFAULT_OPTIONS if model is None else image_options(model.config.data)
  image = to_rgb(image, "the image", options=options)
  if image.dtype != np.uint8:
    image = stretch_contrast(image)
  if found.masks.shape[1:] != image.shape[:2]:
    raise ValueError(
        f"the image is {image.shape[0]} x {image.shape[1]} (height x width), but `found` is of one "
        f"of {found.masks.shape[1]} x {found.masks.shape[2]}: draw on the image given to detect "
        "(if it is a path, give its model, too)")
  records = [
      {"category_id": label, "score": score, "segmentation": rle,
       "bbox": (*box[:2], *(box[2:] - box[:2]))}
      for box, rle, score, label in zip(
          found.boxes, encode_masks(found.masks), found.scores, found.labels, strict=True)
      if score >= min_score]
  names = dict(zip(found.labels.tolist(), found.names, strict=True))
  return draw_instances(image, records, names, min_side=min_side)


def draw_instances(image: np.ndarray, records: Sequence[dict], category_names: dict[int, str], *,
                   min_side: int = 400, colors: Sequence | None = None,
                   labels: Sequence[str] | None = None) -> np.ndarray:
  """Draws instances on an image, the best on top of the others.

  Args:
    image: [H, W, 3] uint8 RGB.
    records: of COCO results or annotations of this image, with `category_id`, RLE
      `segmentation`, and if known `bbox` and `score`.
    category_names: {category id: name}.
    min_side: int; a smaller image is enlarged by a whole factor, so that text stays legible,
      unless its long side would become longer than 2000.
    colors: RGB (0 ... 255) of each record; by default the best has the first colour, and so on.
    labels: text of each record, "" for none; by default name and score, or nothing if these would
      cover more than a seventh of the picture: of 80 nuclei nothing would be seen.

  Returns:
    [f H, f W, 3] uint8 RGB, f = 1 for large images. Without records, the image.
  """
  factor = max(1, min(-(-min_side // min(image.shape[:2])), _LARGEST // max(image.shape[:2])))
  canvas = _enlarge(image, factor)
  # Ground truth has no scores: there the smaller come first.
  order = sorted(range(len(records)), key=lambda index: (
      -records[index].get("score", 0.0), mask_area(records[index]["segmentation"])))
  colors = ([instance_color(index) for index in range(len(order))] if colors is None
            else [colors[index] for index in order])
  texts = [_label(records[index], category_names) if labels is None else labels[index]
           for index in order]
  boxes = [_corners(records[index], factor, canvas.shape) for index in order]
  side = min(canvas.shape[:2])
  width = max(1 if side < SMALL else 2, round(side / 400))
  for index, color in reversed(list(zip(order, colors, strict=True))):
    _draw_mask(canvas, records[index]["segmentation"], factor, color, width)
  for box, color in reversed(list(zip(boxes, colors, strict=True))):
    cv2.rectangle(canvas, box[:2], box[2:], color, max(1, width // 2), cv2.LINE_AA)
  if labels is not None or covered_share(canvas.shape[:2], texts) <= _LABELLED:
    write_labels(canvas, boxes, texts, colors)
  return canvas


def grid(images: Sequence[np.ndarray], columns: int, *, gap: int = 8) -> np.ndarray:
  """Lays out images of any sizes in rows.

  Args:
    images: list of [H, W, 3] uint8.
    columns: images a row.
    gap: pixels between images and around them.

  Returns:
    uint8 RGB; each image centred in a cell of the largest height and width.
  """
  columns = max(1, min(columns, len(images)))
  cell = np.max([image.shape[:2] for image in images], axis=0) + gap if images else np.zeros(2, int)
  shape = cell * (-(-len(images) // columns), columns) + gap
  sheet = np.full((*shape, 3), _BACKGROUND, np.uint8)
  for index, image in enumerate(images):
    spare = cell - gap - image.shape[:2]
    top, left = cell * divmod(index, columns) + gap + spare // 2
    sheet[top:top + image.shape[0], left:left + image.shape[1]] = image
  return sheet


def shrink(image: np.ndarray, side: int) -> np.ndarray:
  """Returns the uint8 `image` [h, w, 3] with neither side above `side`, in its own proportions."""
  scale = min(1.0, side / max(image.shape[:2]))
  height, width = (max(1, round(length * scale)) for length in image.shape[:2])
  return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _enlarge(image, factor):
  if factor == 1:
    return np.array(image, np.uint8, order="C")
  return cv2.resize(np.asarray(image, np.uint8), None, fx=factor, fy=factor,
                    interpolation=cv2.INTER_CUBIC)


def _draw_mask(canvas, rle, factor, color, width):
  """Draws a mask, working only where it is: hundreds in a large photograph take no minutes."""
  x, y, box_width, box_height = map(int, mask_box(rle))
  # Room for the smooth edge and for the outline.
  left, top = max(x - width - 4, 0), max(y - width - 4, 0)
  right = min(x + box_width + width + 4, rle["size"][1])
  bottom = min(y + box_height + width + 4, rle["size"][0])
  mask = decode_window(rle, (slice(top, bottom), slice(left, right)))
  part = canvas[top * factor:bottom * factor, left * factor:right * factor]
  _fill_mask(part, _enlarge_mask(mask, factor), color, width)


def _enlarge_mask(mask, factor):
  """Enlarges a mask with a smooth edge where its pixels would show as steps."""
  if factor == 1:
    return mask.astype(bool)
  smooth = cv2.resize(mask.astype(np.float32), None, fx=factor, fy=factor,
                      interpolation=cv2.INTER_LINEAR)
  smooth = cv2.GaussianBlur(smooth, (0, 0), 0.7 * factor) > 0.5
  # Specks of a pixel or two would be smoothed away.
  return smooth if smooth.any() else mask.repeat(factor, 0).repeat(factor, 1).astype(bool)


def _fill_mask(canvas, mask, color, width):
  blend = np.rint((1 - _FILL) * np.arange(256)[:, None] + _FILL * np.array(color))
  mask = mask.astype(np.uint8)
  cv2.copyTo(cv2.LUT(canvas, blend.astype(np.uint8)[:, None]), mask, canvas)
  outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
  # A dark line under the coloured one keeps the outline visible on any background; small images
  # have no room for it.
  cv2.drawContours(canvas, outlines, -1, _darken(color), width + 2 * (width > 1), cv2.LINE_AA)
  cv2.drawContours(canvas, outlines, -1, color, width, cv2.LINE_AA)


def _darken(color):
  return tuple(int(0.35 * channel) for channel in color)


def _corners(record, factor, shape):
  """Returns whole (x1, y1, x2, y2) of the record's box inside the canvas."""
  x, y, width, height = record.get("bbox") or mask_box(record["segmentation"])
  corners = np.rint(np.array([x, y, x + width, y + height]) * factor)
  return tuple(int(value) for value in np.clip(corners, 0, [shape[1] - 1, shape[0] - 1] * 2))


def _label(record, category_names):
  name = category_names[record["category_id"]]
  return f"{name} {record['score']:.2f}" if "score" in record else name
