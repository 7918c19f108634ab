"""Images with instances as the writers of mnc predict get them."""

from collections import Counter

import numpy as np

from mnc_jax.coco.rle import encode_mask
from mnc_jax.evaluation.writers.found import Found, Target

SIZE = (60, 90)


def make_target(folder, **fields):
  """Returns a target, and the counter of what it counts."""
  counts = Counter()
  return Target(folder, {3: "cat", 7: "größer"}, lambda text, number: counts.update({text: number}),
                **fields), counts


def make_record(rows, columns, *, score=0.9, category_id=3, image_id=4, size=SIZE):
  mask = np.zeros(size, np.uint8)
  mask[slice(*rows), slice(*columns)] = 1
  return {"image_id": image_id, "category_id": category_id, "score": score,
          "bbox": [columns[0], rows[0], columns[1] - columns[0], rows[1] - rows[0]],
          "segmentation": encode_mask(mask)}


def make_found(*records, name="a", path=None, size=SIZE, confident=None):
  return Found(name, f"folder/{name}.png", path, np.full((*size, 3), 40, np.uint8), list(records),
               list(records) if confident is None else confident)
