"""A small set with every kind of error, for the tests of the error browser."""

import numpy as np

from mnc_jax.coco.rle import encode_mask

SIZE = (60, 80)
# Names that would break a page that does not escape them.
CAT, DOG = 'cat <b>&"fluffy"', "</td><script>alert(1)</script>"
LEFT, MIDDLE, RIGHT = (0, 20), (30, 50), (60, 80)


def make_record(image, category, columns, **fields):
  mask = np.zeros(SIZE, np.uint8)
  mask[:30, slice(*columns)] = 1
  return {"image_id": image, "category_id": category, **fields, "segmentation": encode_mask(mask)}


def make_set():
  """Returns ground truth and results; the images by falling cost are 3, 2, 1, 5, 4."""
  images = [{"id": number, "height": SIZE[0], "width": SIZE[1]} for number in (1, 2, 3, 4, 5)]
  images[2]["file_name"] = "<three> & more.jpg"
  annotations = [
      make_record(1, 1, LEFT, id=1),
      make_record(2, 1, LEFT, id=2), make_record(2, 2, RIGHT, id=3), make_record(3, 1, LEFT, id=4),
      make_record(3, 2, MIDDLE, id=5), make_record(3, 1, RIGHT, id=6, iscrowd=1)]
  results = [
      make_record(1, 1, LEFT, score=0.9), make_record(1, 1, (0, 18), score=0.5),    # Duplicate.
      make_record(2, 1, (0, 6), score=0.8),                                         # Localisation.
      make_record(3, 1, MIDDLE, score=0.95), make_record(3, 2, RIGHT, score=0.7),   # Confusion.
      make_record(3, 1, (62, 78), score=0.6),                                       # Ignored.
      make_record(3, 1, (2, 20), score=0.2),                                        # Not shown.
      make_record(5, 2, MIDDLE, score=0.4)]                                         # Background.
  ground_truth = {"images": images, "annotations": annotations, "categories": [
      {"id": 1, "name": CAT}, {"id": 2, "name": DOG}, {"id": 3, "name": "x"}]}
  return ground_truth, results


def read_image(index):
  return np.random.default_rng(index).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
