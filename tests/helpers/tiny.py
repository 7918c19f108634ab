"""A cascade and images small enough for whole-model tests."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mnc_jax.config import (
  Config,
  DataConfig,
  InferenceConfig,
  ModelConfig,
  ProposalConfig,
  TrainConfig,
)
from mnc_jax.model.parameters import init_params
from mnc_jax.structs import Batch

SIDE = 64
NUM_CATEGORIES = 3


def tiny_config(**sections) -> Config:
  """A five-stage cascade on 64 x 64 images; `model=dict(...)` and the like override fields."""
  proposals = ProposalConfig(pre_nms=100, num_proposals=16, min_box_size=2.0)
  config = Config(
      model=ModelConfig(
          num_categories=NUM_CATEGORIES, backbone="small", backbone_widths=(8, 16, 16, 16),
          box_stage_width=16, normalize=True, anchor_scales=(4.0, 8.0), anchor_ratios=(1.0,),
          roi_size=8, roi_method="matmul", mask_hidden=32, mask_size=12, dense_width=32),
      data=DataConfig(short_side=SIDE, long_side=SIDE, buckets=((SIDE, SIDE),), max_instances=4),
      train=TrainConfig(
          anchors_per_image=64, proposals=proposals,
          rois_per_image=12, optimizer="adamw", learning_rate=3e-3, num_steps=100,
          decay_steps=()),
      inference=InferenceConfig(proposals=proposals, max_instances=6))
  return override(config, **sections)


def override(config, **sections):
  """Returns `config` with fields of its sections replaced; a dict stands for fields of a part."""
  parts = {name: override(getattr(config, name), **value)
           if dataclasses.is_dataclass(getattr(config, name)) and isinstance(value, dict) else value
           for name, value in sections.items()}
  return dataclasses.replace(config, **parts)


def sample_everything(config: Config) -> Config:
  """Returns `config` with quotas so wide that no random choice is left."""
  return override(config, train={
      "anchors_per_image": 10_000, "rois_per_image": 20, "roi_positive_fraction": 1.0})


# Layers that `init_params` starts near zero.
_SMALL = {"objectness": 0.01, "category": 0.01, "box_category": 0.01, "mask": 0.01,
          "box_deltas": 0.001}


def random_params(config: Config, seed=0) -> dict:
  """Returns parameters like those of `init_params`, without compiling their initialisation."""
  rng = np.random.default_rng(seed)

  def fill(path, leaf):
    *_, layer, name = (part.key for part in path)
    if leaf.ndim < 2:
      return np.full(leaf.shape, name in ("scale", "pixel_scale"), leaf.dtype)
    std = _SMALL.get(layer, 1 / np.sqrt(np.prod(leaf.shape[:-1])))
    return np.float32(std) * rng.standard_normal(leaf.shape, leaf.dtype)

  shapes = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
  return jax.tree_util.tree_map_with_path(fill, shapes)


def make_batch(count=2, *, seed=0, instances=2, padding=2, side=SIDE) -> Batch:
  """Bright filled rectangles (category 1) and discs (category 2) on dark noise."""
  rng = np.random.default_rng(seed)
  examples = [_make_image(rng, instances, padding, side) for _ in range(count)]
  return Batch(*(jnp.asarray(np.stack(column)) for column in zip(*examples, strict=True)))


def _make_image(rng, instances, padding, side):
  image = rng.integers(0, 60, (side, side, 3)).astype(np.uint8)
  rows, columns = np.mgrid[:side, :side] + 0.5
  boxes, labels, masks, areas = [], [], [], []
  for index in range(instances):
    # One instance in each half, so that none hides another.
    size = rng.integers(18, 26)
    x1 = rng.integers(0, side // 2 - size + 1) + (side // 2) * (index % 2)
    y1 = rng.integers(0, side - size + 1)
    label = int(rng.integers(1, NUM_CATEGORIES))
    inside = (rows > y1) & (rows < y1 + size) & (columns > x1) & (columns < x1 + size)
    if label == 2:
      inside &= np.hypot(rows - y1 - size / 2, columns - x1 - size / 2) < size / 2
    image[inside] = (250, 200, 40) if label == 1 else (40, 120, 250)
    boxes.append((x1, y1, x1 + size, y1 + size))
    labels.append(label)
    masks.append(_mask_in_box(label))
    areas.append(inside.sum())
  def pad(values, shape, dtype):
    filled = np.zeros((instances + padding, *shape), dtype)
    filled[:instances] = np.asarray(values, dtype).reshape(instances, *shape)
    return filled
  return (image, np.array((side, side), np.int32), pad(boxes, (4,), np.float32),
          pad(labels, (), np.int32), pad(masks, (112, 112), np.uint8), pad(areas, (), np.float32),
          np.zeros(instances + padding, bool), np.arange(instances + padding) < instances)


def _mask_in_box(label):
  rows, columns = (np.mgrid[:112, :112] + 0.5) / 112 - 0.5
  return np.ones((112, 112)) if label == 1 else np.hypot(rows, columns) < 0.5
