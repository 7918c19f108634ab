"""The two pictures of an image: ground truth and results, in the colours of their kinds."""

import pathlib
from typing import NamedTuple

import cv2
import numpy as np

from mnc_jax.evaluation.metrics.errors import ImageErrors
from mnc_jax.evaluation.metrics.geometry import read_shape
from mnc_jax.evaluation.metrics.records import is_crowd
from mnc_jax.evaluation.visualize import draw_instances, shrink

# After the palette of Okabe and Ito, which most colour-blind people can distinguish.
KIND_COLORS = {
    "found": (0, 158, 115), "duplicate": (150, 110, 220), "confusion": (230, 159, 0),
    "localisation": (60, 150, 230), "background": (213, 80, 30), "missed": (225, 40, 130),
    "ignored": (130, 136, 145)}

# Of more instances than this, labels are numbers alone: names would hide the picture.
_MANY = 20
_MAX_SIDE = 1024
_QUALITY = 88
_WHAT = ("ground_truth", "results")


class Pictures(NamedTuple):
  """Both pictures of an image: their paths relative to the page, and their size in pixels."""
  ground_truth: str
  results: str
  width: int
  height: int


def remove_pictures(folder: pathlib.Path) -> None:
  """Makes `images/` in the folder of a page, and removes the pictures of an older page."""
  (folder / "images").mkdir(parents=True, exist_ok=True)
  for what in _WHAT:
    for path in (folder / "images").glob(f"[0-9]*_{what}.jpg"):
      path.unlink()


def write_pictures(folder: pathlib.Path, name: str, image: np.ndarray, errors: ImageErrors,
                   names: dict) -> Pictures:
  """Draws both pictures of an image, and writes them to `images/` in the folder of the page.

  Annotations are numbered in their order, results from the best on.

  Args:
    folder: of the page.
    name: of the files, without what is in the picture and the suffix.
    image: [H, W, 3] uint8 RGB.
    errors: of the image.
    names: {category id: name}.
  """
  ground_truth, results = (f"images/{name}_{what}.jpg" for what in _WHAT)
  drawings = [shrink(_draw_ground_truth(image, errors, names), _MAX_SIDE),
              shrink(_draw_results(image, errors, names), _MAX_SIDE)]
  for path, drawing in zip((ground_truth, results), drawings, strict=True):
    # Encoded here and written by Python: OpenCV fails without a reason.
    _, encoded = cv2.imencode(".jpg", drawing[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    (folder / path).write_bytes(encoded.tobytes())
  height, width = drawings[0].shape[:2]
  return Pictures(ground_truth, results, width, height)


def _draw_ground_truth(image, errors, names):
  missed = {one.instance for one in errors.missed}
  colors, labels = [], []
  for index, record in enumerate(errors.annotations):
    crowd, name = is_crowd(record), names[record["category_id"]]
    kind = "ignored" if crowd else "missed" if index in missed else "found"
    colors.append(KIND_COLORS[kind])
    labels.append(f"{index + 1} {'crowd of ' if crowd else ''}{name}")
  return _draw(image, errors.annotations, errors, colors, labels)


def _draw_results(image, errors, names):
  records = [judged.record for judged in errors.results]
  colors = [KIND_COLORS[judged.kind] for judged in errors.results]
  labels = [f"{number} {names[record['category_id']]} {record['score']:.2f}"
            for number, record in enumerate(records, 1)]
  return _draw(image, records, errors, colors, labels)


def _draw(image, records, errors, colors, labels):
  records = [{**record, "segmentation": read_shape(record, errors.image, "segm")}
             for record in records]
  if len(labels) > _MANY:
    labels = [label.split()[0] for label in labels]
  return draw_instances(image, records, {}, colors=colors, labels=labels)
