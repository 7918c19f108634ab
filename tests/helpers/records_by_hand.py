"""COCO records of rectangles, and the protocols in slow plain Python."""

import numpy as np

from mnc_jax.coco.rle import encode_mask, mask_box


def make_rle(rows, columns, *, size=(20, 20)):
  """RLE of the rectangle rows[0]:rows[1], columns[0]:columns[1]."""
  mask = np.zeros(size, np.uint8)
  mask[slice(*rows), slice(*columns)] = 1
  return encode_mask(mask)


def make_box(rows, columns):
  """The same rectangle as [x, y, width, height]."""
  return [columns[0], rows[0], columns[1] - columns[0], rows[1] - rows[0]]


def make_ground_truth(annotations, *, images=(1, 2), categories=("cat", "dog"), size=(20, 20)):
  """Ground truth of (image, category, rows, columns, iscrowd)."""
  return {
      "images": [{"id": i, "height": size[0], "width": size[1]} for i in images],
      "categories": [{"id": i, "name": name} for i, name in enumerate(categories, start=1)],
      "annotations": [
          {"id": i, "image_id": image, "category_id": category, "iscrowd": crowd,
           "segmentation": make_rle(rows, columns, size=size)}
          for i, (image, category, rows, columns, crowd) in enumerate(annotations)]}


def make_result(image, category, rows, columns, score, *, size=(20, 20)):
  """A result with a mask."""
  return {"image_id": image, "category_id": category, "score": score,
          "segmentation": make_rle(rows, columns, size=size)}


def make_box_result(image, category, rows, columns, score):
  """A result with a box."""
  return {"image_id": image, "category_id": category, "score": score,
          "bbox": make_box(rows, columns)}


LEFT, RIGHT = ((0, 10), (0, 10)), ((0, 10), (10, 20))
TWO_CATS = ((1, 1, *LEFT, 0), (1, 1, *RIGHT, 0))


def random_records(rng, *, size=(40, 50), num_gt=25, num_results=60, reach=3):
  """Ground truth of rectangles of two categories in six images, and results up to `reach` off."""
  def corners():
    low = [rng.integers(0, side - 8) for side in size]
    return [(start, rng.integers(start + 4, side + 1)) for start, side in zip(low, size)]
  annotations = [(int(rng.integers(1, 7)), int(rng.integers(1, 3)), *corners(), 0)
                 for _ in range(num_gt)]
  ground_truth = make_ground_truth(annotations, images=range(1, 7), size=size)
  results = []
  for score in rng.permutation(num_results) / num_results:
    image, category, rows, columns, _ = annotations[rng.integers(num_gt)]
    rows, columns = ([(max(low + move, 0), max(high + move, 1)) for (low, high), move in
                      zip((rows, columns), rng.integers(-reach, reach + 1, 2))])
    results.append(make_result(image, category, rows, columns, float(score), size=size)
                   | {"bbox": [float(x) for x in make_box(rows, columns)]})
  for record in ground_truth["annotations"]:
    record["bbox"] = mask_box(record["segmentation"])
  return ground_truth, results


def coco_ap(ground_truth, results, overlap):
  """COCO's AP of all areas: mean over categories with instances and ten thresholds.

  `overlap` is (result, annotation) -> number.
  """
  precisions = []
  for category in sorted({record["category_id"] for record in ground_truth["annotations"]}):
    instances = [r for r in ground_truth["annotations"] if r["category_id"] == category]
    found = sorted((r for r in results if r["category_id"] == category), key=lambda r: -r["score"])
    table = {(a["id"], id(r)): overlap(r, a) for r in found for a in instances
             if r["image_id"] == a["image_id"]}
    for threshold in np.linspace(0.5, 0.95, 10):
      taken, hits = set(), []
      for record in found:
        free = {a["id"]: table[a["id"], id(record)] for a in instances
                if a["image_id"] == record["image_id"] and a["id"] not in taken}
        best = max(free, key=free.get, default=None)
        hits.append(best is not None and free[best] >= threshold)
        taken |= {best} if hits[-1] else set()
      precisions.append(_precision_101(hits, len(instances)))
  return float(np.mean(precisions))


def _precision_101(hits, positives):
  curve = [(sum(hits[:n]) / positives, sum(hits[:n]) / n) for n in range(1, len(hits) + 1)]
  return np.mean([max((precision for recall, precision in curve if recall >= point), default=0)
                  for point in np.linspace(0, 1, 101)])
