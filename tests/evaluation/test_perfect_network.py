"""A network that predicts the ground truth of its batches exactly must score 1.0000."""

import functools

import numpy as np
import pytest

from mnc_jax.coco.rle import encode_mask
from mnc_jax.config import DataConfig
from mnc_jax.data import evaluation_batches, make_ground_truth
from mnc_jax.data.records import Source, make_annotation
from mnc_jax.evaluation.metrics.scoring import score_results
from mnc_jax.evaluation.results import instances_to_results
from mnc_jax.structs import Instances

# (height, width) whose scaled sides are rounded up and down, along one axis or both.
SIZES = [(101, 157), (157, 101), (97, 97), (61, 293), (426, 640), (375, 500), (31, 43)]


@pytest.mark.parametrize(("short_side", "long_side"), [
    (37, 90), (64, 10**4), (128, 200), (320, 500)])
def test_ground_truth_of_the_batches_scores_one(short_side, long_side):
  side = max(5 * short_side, 320)
  config = DataConfig(
      dataset="coco", short_side=short_side, long_side=long_side, max_instances=40,
      buckets=((short_side, side), (side, short_side)))
  source = _ellipses(SIZES)
  results = [record for batch, info in evaluation_batches(source, config, batch_size=2)
             for record in instances_to_results(_as_instances(batch), info, source.category_ids,
                                                mask_threshold=0.5)]
  scores = score_results(make_ground_truth(source), results)
  assert len(results) == source.instance_counts.sum()
  assert scores["segm"]["AP"] == 1
  assert scores["bbox"]["AP"] == 1
  assert [scores[at]["mean_ap_11point"] for at in ("0.5", "0.7")] == [1, 1]
  assert [scores["boxes"][at]["mean_ap_11point"] for at in ("0.5", "0.7")] == [1, 1]


def _as_instances(batch):
  return Instances(
      batch.boxes, batch.labels, np.where(batch.valid, 0.9, 0).astype(np.float32),
      batch.masks.astype(np.float32), batch.valid)


def _ellipses(sizes):
  """A source whose images are densely covered by small ellipses and half rings."""
  annotations = [_draw(index, size) for index, size in enumerate(sizes)]
  return Source(
      name="ellipses", image_ids=np.arange(len(sizes)), sizes=np.array(sizes, np.int32),
      instance_counts=np.array([len(found) for found in annotations], np.int32),
      crowd_counts=np.zeros(len(sizes), np.int32), category_names=("full", "ring"),
      category_ids=(1, 2), read_image=functools.partial(_blank, sizes),
      read_annotations=annotations.__getitem__)


def _blank(sizes, index):
  return np.zeros((*sizes[index], 3), np.uint8)


def _draw(index, size):
  rng, (rows, columns) = np.random.default_rng(index), np.mgrid[:size[0], :size[1]]
  found = []
  for number in range(30):
    center, radius = rng.uniform(0, size), rng.uniform(2, 9, 2)
    distance = np.hypot((rows + 0.5 - center[0]) / radius[0],
                        (columns + 0.5 - center[1]) / radius[1])
    mask = (distance < 1) & ((distance > 0.5) | (number % 2 == 0))
    found.append(make_annotation(
        100 * index + number + 1, index, number % 2 + 1, encode_mask(mask), crowd=False))
  return found
