"""The evaluation side of the benchmark: many images with many instances, found and scored."""

import dataclasses
import functools
import time

import jax
import numpy as np

from benchmarks.model import process_peak
from mnc_jax import parallel
from mnc_jax.coco.rle import encode_mask
from mnc_jax.config import Config
from mnc_jax.data import Source, make_ground_truth
from mnc_jax.data.readers.drawing import CATEGORY_NAMES, IMAGE_SIDE, Drawing, draw_image
from mnc_jax.data.records import make_annotation
from mnc_jax.evaluation.metrics.scoring import PROTOCOLS, score_results
from mnc_jax.evaluation.predict_split import make_predict, predict_all
from mnc_jax.training.trained_model import load

_ROWS, _COLUMNS = 5, 6  # Drawings that make an image: some 90 shapes.
_POOL, _SEED = 300, 77


def measure(options, torch_side):
  """Measures prediction to RLE, each protocol, and the most memory that the process took."""
  del torch_side  # torchvision scores nothing.
  source = draw_source(options.images)
  model = load("shapes")
  config = make_config(model.config, options.instances)
  start, mesh = time.perf_counter(), parallel.make_mesh()
  results, _ = predict_all(
      make_predict([config], mesh), parallel.replicate([model.params], mesh), config, source)
  seconds = {"predicting, s": time.perf_counter() - start}
  ground_truth = make_ground_truth(source)
  for protocol in PROTOCOLS:
    start = time.perf_counter()
    score_results(ground_truth, results, protocols=(protocol,))
    seconds[f"scoring by {protocol}, s"] = time.perf_counter() - start
  rows = [{"name": name, "mnc_jax": value, "torchvision": None}
          for name, value in (seconds | {"peak memory, GB": process_peak() / 1e9}).items()]
  return rows, [f"{len(source)} images of {_ROWS * IMAGE_SIDE} x {_COLUMNS * IMAGE_SIDE}, "
                f"{len(ground_truth['annotations'])} instances, {len(results)} results."]


def make_config(config: Config, instances: int) -> Config:
  """Returns the options of the shipped model, for images half as large as the files."""
  size = _ROWS * IMAGE_SIDE // 2, _COLUMNS * IMAGE_SIDE // 2
  proposals = dataclasses.replace(
      config.inference.proposals, num_proposals=instances * 3 // 2)
  return dataclasses.replace(
      config,
      data=dataclasses.replace(config.data, short_side=size[0], long_side=size[1], buckets=(size,),
                               max_instances=_ROWS * _COLUMNS * 5,
                               eval_batch_size=max(2, jax.local_device_count())),
      inference=dataclasses.replace(config.inference, proposals=proposals,
                                    max_instances=instances))


def draw_source(images: int) -> Source:
  """Returns images that are mosaics of drawn ones; nothing is kept but a pool of these."""
  pool = [draw_image(number, _SEED) for number in range(_POOL)]
  counts = [sum(len(pool[number].labels) for number in _numbers(place)) for place in range(images)]
  return Source(
      name="mosaics", image_ids=np.arange(1, images + 1, dtype=np.int64),
      sizes=np.tile(np.int32([_ROWS * IMAGE_SIDE, _COLUMNS * IMAGE_SIDE]), (images, 1)),
      instance_counts=np.array(counts, np.int32), crowd_counts=np.zeros(images, np.int32),
      category_names=CATEGORY_NAMES,
      category_ids=tuple(range(1, len(CATEGORY_NAMES) + 1)),
      read_image=functools.partial(_draw_mosaic, pool),
      read_annotations=functools.partial(_annotate, pool, np.cumsum([1, *counts])))


def _numbers(place):
  """Returns which drawings make an image."""
  return np.random.default_rng([_SEED, place]).integers(0, _POOL, _ROWS * _COLUMNS)


def _corner(tile):
  row, column = divmod(tile, _COLUMNS)
  return row * IMAGE_SIDE, column * IMAGE_SIDE


def _draw_mosaic(pool, place):
  tiles = np.stack([pool[number].image for number in _numbers(place)])
  rows = tiles.reshape(_ROWS, _COLUMNS, IMAGE_SIDE, IMAGE_SIDE, 3).transpose(0, 2, 1, 3, 4)
  return rows.reshape(_ROWS * IMAGE_SIDE, _COLUMNS * IMAGE_SIDE, 3)


def _annotate(pool: list[Drawing], first_ids, place):
  found = []
  for tile, number in enumerate(_numbers(place)):
    top, left = _corner(tile)
    for mask, label in zip(pool[number].masks, pool[number].labels, strict=True):
      whole = np.zeros((_ROWS * IMAGE_SIDE, _COLUMNS * IMAGE_SIDE), np.uint8)
      whole[top:top + IMAGE_SIDE, left:left + IMAGE_SIDE] = mask
      found.append(make_annotation(int(first_ids[place]) + len(found), place + 1, int(label),
                                   encode_mask(whole), crowd=False))
  return found
