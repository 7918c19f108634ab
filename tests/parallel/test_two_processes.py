"""Prediction on two hosts of four devices each: the results of one host of four."""

import json

import jax
import numpy as np
from pycocotools import mask as coco_mask
import pytest

from helpers import tiny
from helpers.toy_sets import make_source
from helpers.two_processes import run_two
from mnc_jax import parallel
from mnc_jax.evaluation.predict_split import make_predict, predict_all
from mnc_jax.model.cascade import init_params

_PREDICT = """
import json
from parallel.test_two_processes import predict_six
print(json.dumps(predict_six(eval_batch_size=8)))
"""


def predict_six(eval_batch_size: int) -> list:
  """Returns the results of an untrained cascade on six images, so that the batch has padding."""
  config, mesh = tiny.tiny_config(data={"eval_batch_size": eval_batch_size}), parallel.make_mesh()
  params = jax.jit(lambda: init_params(jax.random.key(0), config))()
  source = make_source([(64, 64), (32, 64), (64, 48)] * 2)
  return predict_all(
      make_predict([config], mesh), parallel.replicate([params], mesh), config, source)[0]


def test_two_hosts_give_the_results_of_one():
  printed = run_two(_PREDICT)
  assert printed[0] == printed[1]
  found, expected = json.loads(printed[0]), predict_six(eval_batch_size=4)
  assert {record["image_id"] for record in found} == set(range(100, 106))
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
