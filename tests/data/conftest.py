"""What the tests of the data share; the data sets themselves are in `helpers/toy_sets.py`."""

import json

import cv2
import numpy as np
import pytest

from mnc_jax.config import DataConfig


@pytest.fixture
def toy_config():
  return DataConfig(short_side=16, long_side=32, buckets=((16, 32), (32, 16)), max_instances=3)


@pytest.fixture
def write_coco(tmp_path):
  """Writes a COCO file and its images; returns (annotations, images)."""
  def write(content):
    images = tmp_path / "images"
    images.mkdir(exist_ok=True)
    for name, size in (("a.png", (12, 16)), ("b.png", (10, 10)), ("empty.png", (8, 8))):
      cv2.imwrite(str(images / name), np.full((*size, 3), (10, 20, 30), np.uint8))
    path = tmp_path / "instances.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path, images
  return write
