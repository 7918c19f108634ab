"""Pictures of a validation: the ground truth of some images beside what was found in them."""

import cv2
import numpy as np

from mnc_jax.config import DataConfig
from mnc_jax.data import Source
from mnc_jax.data.contrast import adapt_image
from mnc_jax.evaluation import visualize

_IMAGES, _PAIRS, _SCORE = 8, 2, 0.5  # Pictures, pairs in a row, lowest score drawn.
_SIDE = 320  # Longest side of a picture, so that the panel stays small.
_GAP, _TITLE = 8, 22  # Pixels between the pictures, and of the titles above them.
_TITLES = ("ground truth", "prediction")
_INK, _PAPER = (230, 232, 236), (24, 26, 30)


def draw_panel(source: Source, results: list[dict], config: DataConfig) -> np.ndarray:
  """Draws up to 8 evenly spaced images of a split, each twice: ground truth and prediction.

  Args:
    source: of the images, at least one.
    results: of all its images, in COCO format, masks as RLE; drawn from a score of .5 on.
    config: how images are adapted for the network.

  Returns:
    [h, w, 3] uint8 RGB, about 1300 pixels wide and at most as high.
  """
  count = min(_IMAGES, len(source))
  pictures = []
  for row in (index * len(source) // count for index in range(count)):
    image = adapt_image(source.read_image(row), config)
    found = [record for record in results if record["score"] >= _SCORE
             and record["image_id"] == source.image_ids[row]]
    pictures += [_draw(image, records, source) for records in (source.read_annotations(row), found)]
  sheet = visualize.grid(pictures, 2 * _PAIRS, gap=_GAP)
  return np.concatenate([_write_titles(sheet.shape[1], len(pictures)), sheet])


def _draw(image, records, source):
  """Draws records on an image, in the colours of their categories if there are several."""
  names = dict(zip(source.category_ids, source.category_names, strict=True))
  order = {category: index for index, category in enumerate(names)}
  colors = [visualize.instance_color(order[record["category_id"]]) for record in records]
  drawing = visualize.draw_instances(
      image, records, names, min_side=_SIDE // 2, colors=colors if len(names) > 1 else None)
  return visualize.shrink(drawing, _SIDE)


def _write_titles(width, pictures):
  strip = np.full((_TITLE, width, 3), _PAPER, np.uint8)
  columns = min(2 * _PAIRS, pictures)
  for column in range(columns):
    left = _GAP + column * (width - _GAP) // columns
    cv2.putText(strip, _TITLES[column % 2], (left, _TITLE - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.45,
                _INK, 1, cv2.LINE_AA)
  return strip
