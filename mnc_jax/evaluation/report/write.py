"""Writes the error browser: `index.html`, and its pictures in `images/`."""

from collections.abc import Callable
import pathlib

import numpy as np
from tqdm.auto import tqdm

from mnc_jax.config.paths import as_path
from mnc_jax.evaluation.metrics.errors import classify_errors
from mnc_jax.evaluation.metrics.records import leave_out_placeholder
from mnc_jax.evaluation.report.cards import make_card
from mnc_jax.evaluation.report.charts import make_charts
from mnc_jax.evaluation.report.page import Settings, make_page
from mnc_jax.evaluation.report.pictures import remove_pictures, write_pictures

_GREY = 160


def write_report(folder: str | pathlib.Path, ground_truth: dict, results: list,
                 read_image: Callable[[int], np.ndarray] | None, *, title: str = "Error report",
                 scores: dict | None = None, category_scores: dict | None = None,
                 max_images: int = 100, iou_threshold: float = 0.5, min_score: float = 0.3
                 ) -> pathlib.Path:
  """Writes a page of the worst images that any browser opens from the disk, without a server.

  Kinds of errors and the cost of an image are those of `metrics.errors`.

  Args:
    folder: of `index.html` and `images/`; made if absent. An older report is replaced.
    ground_truth: dict with `images`, `annotations`, `categories`, in COCO format. A placeholder
      among the categories, as of Roboflow, is left out with a warning.
    results: list of {image_id, category_id, score, segmentation: RLE}.
    read_image: index in `ground_truth["images"]` -> [H, W, 3] uint8 RGB; None draws on grey.
    title: heading of the page.
    scores: {name: number} for the head of the page.
    category_scores: {column: {category name: number}} for the table of categories.
    max_images: most images shown.
    iou_threshold: mask IoU from which a result finds an instance.
    min_score: results below it are ignored.

  Returns:
    The path of the page.

  Raises:
    ValueError: for records that cannot be scored, or `max_images` below 1.
  """
  if max_images < 1:
    raise ValueError(f"max_images is {max_images}: a report shows at least 1 image")
  ground_truth = leave_out_placeholder(ground_truth)
  judged = classify_errors(ground_truth, results, iou_threshold=iou_threshold, min_score=min_score)
  names = {category["id"]: category["name"] for category in ground_truth["categories"]}
  indices = {image["id"]: index for index, image in enumerate(ground_truth["images"])}
  folder = as_path(folder)
  page = folder / "index.html"
  # First: if this is interrupted, an older page would show the new pictures as its own.
  page.unlink(missing_ok=True)
  remove_pictures(folder)
  cards = []
  for rank, errors in enumerate(tqdm(judged[:max_images], unit="image", desc="drawing"), 1):
    image = _blank(errors.image) if read_image is None else read_image(indices[errors.image["id"]])
    pictures = write_pictures(folder, f"{rank:04d}", image, errors, names)
    cards.append(make_card(errors, names, pictures, min_score))
  settings = Settings(title, names, iou_threshold, min_score, scores or {}, category_scores or {})
  charts = make_charts(ground_truth, results, judged, iou_threshold, min_score)
  page.write_text(make_page(judged, cards, charts, settings), encoding="utf-8")
  return page


def _blank(image):
  return np.full((image["height"], image["width"], 3), _GREY, np.uint8)
