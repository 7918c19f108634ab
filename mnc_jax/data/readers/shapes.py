"""The data set `shapes`: images drawn in code (`drawing.py`), from no files."""

import functools
import pathlib

import numpy as np

from mnc_jax.coco.faults import FaultReport
from mnc_jax.coco.rle import encode_mask
from mnc_jax.data.images import DEFAULT_OPTIONS, ImageOptions, decode_image, encode_png
from mnc_jax.data.listing import TRAIN, VALIDATION, Content, Entry, Listing
from mnc_jax.data.readers.drawing import CATEGORY_NAMES as CATEGORY_NAMES
from mnc_jax.data.readers.drawing import IMAGE_SIDE, draw_image
from mnc_jax.data.records import Source, make_annotation

NUM_TRAIN, NUM_VALIDATION = 8000, 200

# Seeds of `draw_image`, and the first image id: ids differ between the splits.
_SPLITS = {TRAIN: (0, 0, NUM_TRAIN), VALIDATION: (1, 1_000_000, NUM_VALIDATION)}
_MOST_SHAPES = 10  # More than any image has, so that annotation ids follow from image ids.


def list_shapes(folder: pathlib.Path, report: FaultReport, *,
                options: ImageOptions = DEFAULT_OPTIONS) -> Listing:
  """Returns 8000 training and 200 validation images, not drawn yet; no `folder`, no `report`."""
  del folder, report, options  # Nothing is read.
  categories = [{"id": label, "name": name} for label, name in enumerate(CATEGORY_NAMES, 1)]
  return Listing(categories, {
      split: [_make_entry(index, seed, first_id + index) for index in range(count)]
      for split, (seed, first_id, count) in _SPLITS.items()})


def draw_validation() -> Source:
  """Returns the validation images, drawn in memory: half a second, and no files."""
  listing = list_shapes(pathlib.Path(), _ignore)
  entries = listing.splits[VALIDATION]
  contents = [entry.read(_ignore) for entry in entries]
  return Source(
      name=f"shapes {VALIDATION}",
      image_ids=np.array([entry.image_id for entry in entries], np.int64),
      sizes=np.array([content.size for content in contents], np.int32),
      instance_counts=np.array([len(content.annotations) for content in contents], np.int32),
      crowd_counts=np.zeros(len(contents), np.int32),
      category_names=CATEGORY_NAMES,
      category_ids=tuple(category["id"] for category in listing.categories),
      read_image=functools.partial(_decode, contents),
      read_annotations=functools.partial(_annotations, contents))


def _ignore(fault):
  """Drawings have no faults."""


def _decode(contents, index):
  return decode_image(contents[index].image, f"drawing {index}")


def _annotations(contents, index):
  return contents[index].annotations


def _make_entry(index, split_seed, image_id):
  return Entry(image_id, "", functools.partial(_draw, index, split_seed, image_id))


def _draw(index, split_seed, image_id, report):
  del report
  drawing = draw_image(index, split_seed)
  annotations = [
      make_annotation(image_id * _MOST_SHAPES + number, image_id, label, encode_mask(mask),
                      crowd=False)
      for number, (label, mask) in enumerate(zip(drawing.labels, drawing.masks, strict=True), 1)]
  return Content(encode_png(drawing.image), (IMAGE_SIDE, IMAGE_SIDE), annotations)
