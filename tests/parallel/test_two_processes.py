"""Prediction on two hosts of four devices each: the results of one host of four."""

import json

import numpy as np
from pycocotools import mask as coco_mask
import pytest

from helpers import tiny
from helpers.toy_sets import make_source
from helpers.two_processes import run_two
from mnc_jax import parallel
from mnc_jax.evaluation.predict_split import make_predict, predict_all
from mnc_jax.structs import Instances

_PREDICT = """
import json
from parallel.test_two_processes import predict_eight
print(json.dumps(predict_eight(eval_batch_size=8)))
"""


def predict_eight(eval_batch_size: int) -> list:
  """Returns the results of an untrained cascade on eight images, so that the batch has padding."""
  config = tiny.tiny_config(
      data={"eval_batch_size": eval_batch_size}, inference={"max_shrink": 1.5})
  params = tiny.random_params(config)
  # At a factor of 1.5 the last two are large.
  source = make_source([(64, 64), (32, 64), (64, 48)] * 2 + [(128, 128), (128, 192)])
  mesh = parallel.make_mesh()
  return predict_all(
      make_predict([config], mesh), parallel.replicate([params], mesh), config, source,
      find_large=_whole_image)[0]


def _whole_image(image: np.ndarray) -> Instances:
  """One instance that fills the image."""
  height, width = image.shape[:2]
  return Instances(
      boxes=np.float32([[0, 0, width, height]]), labels=np.int32([1]), scores=np.float32([0.9]),
      masks=np.ones((1, 4, 4), np.float32), valid=np.array([True]), dropped=np.int32(0),
      truncated_proposals=np.int32(0))


def test_two_hosts_give_the_results_of_one():
  printed = run_two(_PREDICT)
  assert printed[0] == printed[1]
  found, expected = json.loads(printed[0]), predict_eight(eval_batch_size=4)
  assert {record["image_id"] for record in found} == set(range(100, 108))
  assert [record["bbox"] for record in found][-2:] == [[0, 0, 128, 128], [0, 0, 192, 128]]
  for field in ("image_id", "category_id"):
    assert [record[field] for record in found] == [record[field] for record in expected]
  for field in ("bbox", "score"):
    np.testing.assert_allclose([record[field] for record in found],
                               [record[field] for record in expected], rtol=1e-4, atol=0.02)
  masks, masks_of_one = ([record["segmentation"] for record in records]
                         for records in (found, expected))
  overlaps = [coco_mask.iou([a], [b], [0])[0, 0]
              for a, b in zip(masks, masks_of_one, strict=True)]
  assert min(overlaps) == pytest.approx(1, abs=0.05)
