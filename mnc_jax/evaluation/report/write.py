"""Writes the error browser into a folder: `index.html`, and its pictures in `images/`."""

import pathlib

import numpy as np
from tqdm import tqdm

from mnc_jax.evaluation.metrics.errors import classify_errors
from mnc_jax.evaluation.report.cards import make_card
from mnc_jax.evaluation.report.page import Settings, make_page
from mnc_jax.evaluation.report.pictures import remove_pictures, write_pictures

_GREY = 160


def write_report(folder, ground_truth, results, read_image, *, title="Error report", scores=None,
                 category_scores=None, max_images=100, iou_threshold=0.5, min_score=0.3):
  """Writes a page of the worst images that any browser opens from the disk, without a server.

  Kinds of errors, and which images are the worst, are those of `metrics.errors`.

  Args:
    folder: where `index.html` and `images/` go; made if absent, an older report is replaced,
      its pictures included.
    ground_truth: dict with `images`, `annotations`, `categories`, in COCO format.
    results: list of {image_id, category_id, score, segmentation: RLE}.
    read_image: place in `ground_truth["images"]` -> [H, W, 3] uint8 RGB; None if only the records
      are at hand: then masks are drawn on grey.
    title: heading of the page.
    scores: {name: number} for the head of the page.
    category_scores: {column: {category name: number}} for the table of categories.
    max_images: the page shows at most so many.
    iou_threshold: from this mask IoU on a result finds an instance.
    min_score: results below it count as not given; a model gives many that nobody would look at.

  Returns:
    The path of the page.

  Raises:
    ValueError: for records that cannot be scored, or fewer than one image to be shown.
  """
  if max_images < 1:
    raise ValueError(f"a report of {max_images} images was asked for; it needs at least 1")
  judged = classify_errors(ground_truth, results, iou_threshold=iou_threshold, min_score=min_score)
  names = {category["id"]: category["name"] for category in ground_truth["categories"]}
  places = {image["id"]: place for place, image in enumerate(ground_truth["images"])}
  folder = pathlib.Path(folder)
  remove_pictures(folder)
  cards = []
  for rank, errors in enumerate(tqdm(judged[:max_images], unit="image", desc="drawing"), 1):
    image = _blank(errors.image) if read_image is None else read_image(places[errors.image["id"]])
    pictures = write_pictures(folder, f"{rank:04d}", image, errors, names)
    cards.append(make_card(rank, errors, names, pictures, min_score))
  settings = Settings(title, names, iou_threshold, min_score, scores or {}, category_scores or {})
  page = folder / "index.html"
  page.write_text(make_page(judged, cards, settings), encoding="utf-8")
  return page


def _blank(image):
  return np.full((image["height"], image["width"], 3), _GREY, np.uint8)
