"""A training run of the tiny cascade on four drawn images in COCO format, as a program."""

import json
import pathlib

import cv2
import numpy as np

TESTS = pathlib.Path(__file__).resolve().parents[1]
CONFIG = '''
import sys
sys.path.insert(0, {tests!r})
from helpers import tiny

def get_config():
  return tiny.tiny_config(
      model={{"num_categories": 0, "backbone_widths": (8, 16)}},
      train={{"num_steps": 2, "checkpoint_every": 1, "log_every": 1}},
      data={{"dataset": "coco", "train_annotations": {annotations!r}, "train_images": {images!r},
            "eval_annotations": {annotations!r}, "eval_images": {images!r}, "flip": False,
            "batch_size": 4, "eval_batch_size": 4}})
'''


def write_toy_set(folder: pathlib.Path) -> pathlib.Path:
  """Writes four images of one square each, their annotations and a config file, which it returns.

  Args:
    folder: an existing one.
  """
  (folder / "images").mkdir()
  images, annotations = [], []
  for number in range(1, 5):
    picture = np.full((64, 64, 3), 30, np.uint8)
    picture[10:40, 10 * number:10 * number + 20] = 220
    cv2.imwrite(str(folder / "images" / f"{number}.png"), picture)
    images.append({"id": number, "file_name": f"{number}.png", "height": 64, "width": 64})
    left, right = 10 * number, 10 * number + 20
    annotations.append({
        "id": number, "image_id": number, "category_id": 7, "iscrowd": 0, "area": 600,
        "bbox": [left, 10, 20, 30],
        "segmentation": [[left, 10, right, 10, right, 40, left, 40]]})
  (folder / "instances.json").write_text(json.dumps(
      {"images": images, "annotations": annotations, "categories": [{"id": 7, "name": "square"}]}))
  config = folder / "config.py"
  config.write_text(CONFIG.format(
      tests=str(TESTS), annotations=str(folder / "instances.json"),
      images=str(folder / "images")))
  return config
