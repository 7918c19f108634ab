"""Floating-point operations of the parts of the cascade, by XLA's cost analysis.

A multiplication and an addition count as two, and products with zero padding as none. The parts are
counted one by one, before optimisation, because the analysis of a whole step would count the body
of each loop once (chunks of RoIs, NMS, voting), and would include what the backward pass computes
again. Not counted: anchors, NMS, targets, losses, voting and the optimiser.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mnc_jax.config import Config, ModelConfig
from mnc_jax.model.backbones.features import make_backbone
from mnc_jax.model.forward import extract_stage_features
from mnc_jax.model.parameters import init_params
from mnc_jax.model.stages.box_stage import score_anchors
from mnc_jax.model.stages.category_stage import predict_categories
from mnc_jax.model.stages.mask_stage import predict_masks
from mnc_jax.ops.roi_warp import roi_warp


class Part(NamedTuple):
  """A part of the cascade on one image.

  Attributes:
    function: of `arguments`.
    arguments: shapes and dtypes.
    trained: number of leading arguments that get a gradient in training.
  """
  function: Callable
  arguments: tuple
  trained: int


def count_flops(function: Callable, *arguments) -> float:
  """Returns the floating-point operations of a function of arrays, or of their shapes.

  They are those of the program for a TPU, on whatever device: for a CPU, kernel gradients of large
  maps are loops (`ops/conv.py`), whose bodies would be counted once.
  """
  lowered = jax.jit(function).trace(*arguments).lower(lowering_platforms=("tpu",))
  return lowered.cost_analysis()["flops"]


def inference_flops(height: int, width: int, config: Config) -> dict[str, float]:
  """Counts `predict` on one image of height x width pixels, by part."""
  rois = 2 * config.inference.proposals.num_proposals
  return {name: count_flops(part.function, *part.arguments)
          for name, part in make_parts(height, width, rois, config.model).items()}


def training_flops(height: int, width: int, config: Config) -> dict[str, float]:
  """Counts one image of a training step, forward and backward, by part."""
  passes = 2 if config.train.num_stages == 5 else 1
  parts = make_parts(height, width, passes * config.train.rois_per_image, config.model)
  return {name: count_flops(functools.partial(_forward_and_backward, part), *part.arguments)
          for name, part in parts.items()}


def make_parts(height: int, width: int, rois: int, model: ModelConfig) -> dict[str, Part]:
  """Returns the parts of the cascade by name, for that number of RoIs in all stages together."""
  shape = jax.ShapeDtypeStruct
  params = jax.eval_shape(lambda: init_params(jax.random.key(0), Config(model=model)))
  images, sizes = shape((1, height, width, 3), jnp.uint8), shape((1, 2), jnp.int32)
  extract = functools.partial(extract_stage_features, config=Config(model=model))
  features = jax.eval_shape(lambda *inputs: extract(*inputs).boxes[0], params, images, sizes)
  roi_features = shape((rois, model.roi_size, model.roi_size, features.shape[-1]), features.dtype)
  masks = shape((rois, model.mask_size, model.mask_size), jnp.float32)
  stride = make_backbone(model).stride
  score = lambda params, features: score_anchors(
      params, features, jnp.array((height, width)), stride=stride, config=model)[1:3]
  # As a gather: the products with dense matrices are nearly all with zero.
  warp = lambda features, boxes: roi_warp(
      features, boxes, size=model.roi_size * model.roi_pool, stride=stride, grid=model.roi_grid)
  return {
      "features": Part(extract, (params, images, sizes), 1),
      "box_stage": Part(score, (params["box_stage"], features), 2),
      "roi_warp": Part(warp, (features, shape((rois, 4), jnp.float32)),
                       2 if model.box_gradient else 1),
      "mask_stage": Part(functools.partial(predict_masks, config=model),
                         (params["mask_stage"], roi_features), 2),
      "category_stage": Part(functools.partial(predict_categories, config=model),
                             (params["category_stage"], roi_features, masks), 3)}


def _forward_and_backward(part, *arguments):
  trained, others = arguments[:part.trained], arguments[part.trained:]
  output, backward = jax.vjp(lambda *trained: part.function(*trained, *others), *trained)
  return output, backward(output)
