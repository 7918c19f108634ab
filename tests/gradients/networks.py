"""The table of gradients, second half: the stages, which have weights.

What has convolutions is taken only compiled. `test_cascade_losses.py` takes it under vmap as the
cascade does, over images and not over weights.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from gradients.differences import Row
from gradients.operations import boxes_in
from mnc_jax.config import ModelConfig, ProposalConfig
from mnc_jax.model.backbones import features
from mnc_jax.model.backbones.resnet import FROZEN_NORMS
from mnc_jax.model.stages import box_stage, bridge, category_stage, mask_stage
from mnc_jax.structs import AnchorOutput, StageOutput

_CHANNELS = 4
MODEL = ModelConfig(
    num_categories=3, backbone="small", backbone_widths=(4, 4, 6, 6), compute_dtype="float64",
    normalize=True, anchor_scales=(2.0, 4.0), anchor_ratios=(1.0,), box_stage_width=6, roi_size=4,
    mask_hidden=6, mask_size=8, dense_width=6, frozen_blocks=0, resnet_width=4)
_SIZE = np.array([28, 32], np.int32)


def _model(**fields):
  return dataclasses.replace(MODEL, **fields)


def draw_params(rng, init):
  """Returns parameters around their initialisation, no kernel near zero."""
  params = jax.jit(init)(jax.random.key(int(rng.integers(1000))))
  return jax.tree.map(lambda x: np.asarray(x, np.float64) + 0.2 * rng.normal(size=x.shape), params)


def _roi_features(rng):
  return rng.normal(size=(3, MODEL.roi_size, MODEL.roi_size, _CHANNELS))


def _mask_row(head):
  config = _model(mask_head=head)
  init = functools.partial(mask_stage.init_mask_stage, config=config, channels=_CHANNELS)
  return Row(f"predict_masks[{head}]",
             lambda params, x: mask_stage.predict_masks(params, x, config=config),
             lambda rng: (draw_params(rng, init), _roi_features(rng)), (0, 1),
             covers=("stages.mask_stage.predict_masks",), ways=("jit",))


def _without_frozen(params):
  """Returns (what moves, what passes no gradient by design) of nested parameters."""
  frozen = lambda name: name in FROZEN_NORMS or name.startswith("pixel_")
  moving, held = {}, {}
  for name, value in params.items():
    if frozen(name):
      held[name] = value
    elif isinstance(value, dict):
      moving[name], held[name] = _without_frozen(value)
    else:
      moving[name] = value
  return moving, held


def _merged(moving, held):
  merged = dict(moving)
  for name, value in held.items():
    merged[name] = _merged(moving[name], value) if name in moving else value
  return merged


def _category_row(backbone):
  config = _model(backbone=backbone)
  init = functools.partial(category_stage.init_category_stage, config=config, channels=_CHANNELS)
  def call(moving, held, x, logits):
    return category_stage.predict_categories(_merged(moving, held), x, logits, config=config)
  def draw(rng):
    return (*_without_frozen(draw_params(rng, init)), _roi_features(rng),
            rng.normal(size=(3, MODEL.mask_size, MODEL.mask_size)))
  return Row(f"predict_categories[{backbone}]", call, draw, (0, 2, 3),
             covers=("stages.category_stage.predict_categories", "backbones.resnet.residual_layer",
                     "backbones.resnet.conv_norm"), ways=("jit",))


def _score_row():
  init = functools.partial(box_stage.init_box_stage, config=MODEL, channels=_CHANNELS)
  def call(params, x):
    return box_stage.score_anchors(params, x, _SIZE, stride=4, config=MODEL)
  return Row("score_anchors", call, lambda rng: (draw_params(rng, init), rng.normal(
      size=(3, 4, _CHANNELS))), (0, 1), covers=("stages.box_stage.score_anchors",), ways=("jit",))


def _backbone_row(backbone, norm="frozen_batch", pyramid=0):
  config = _model(backbone=backbone, backbone_norm=norm, pyramid_stride=pyramid, pyramid_width=4)
  sizes = _SIZE[None]
  def call(moving, held, images):
    return features.extract_features(_merged(moving, held), images, sizes, config=config)
  def draw(rng):
    params = draw_params(rng, functools.partial(features.init_features, config=config))
    images = rng.uniform(0, 255, (1, 32, 32, 3))
    images[:, _SIZE[0]:] = 0
    return (*_without_frozen(params), images)
  kind = backbone if backbone == "small" else f"{backbone}, {norm}" + ", joined" * bool(pyramid)
  return Row(f"extract_features[{kind}]", call, draw,
             (0,), covers=("backbones.features.extract_features", "backbones.pixels.center_pixels",
                           "backbones.pixels.scale_pixels"), ways=("jit",))


def _propose(deltas, logits, anchors):
  output = AnchorOutput(anchors, logits, deltas, np.ones(len(anchors), bool))
  return box_stage.propose_boxes(output, np.array([16, 16]), config=ProposalConfig(
      pre_nms=10, num_proposals=6, min_box_size=1.0)).boxes


def _propose_inputs(rng):
  return rng.normal(size=(12, 4)) * 0.3, rng.normal(size=(12, 2)), boxes_in(rng, 12)


def _refine(boxes, deltas, logits):
  output = StageOutput(boxes, jnp.ones(len(boxes), bool), logits, logits, logits, deltas)
  return bridge.refine_boxes(output, np.array([16, 16]), config=MODEL)


def _refine_each(boxes, deltas):
  logits = jnp.zeros(deltas.shape[:2])
  output = StageOutput(boxes, jnp.ones(len(boxes), bool), logits, logits, logits, deltas)
  return bridge.refine_by_category(output, np.array([16, 16]), config=MODEL)


def _refine_inputs(rng):
  return boxes_in(rng, 5), rng.normal(size=(5, 3, 4)), rng.normal(size=(5, 3))


ROWS = (
    _mask_row("dense"), _mask_row("conv"), _category_row("small"), _category_row("resnet26"),
    _score_row(), _backbone_row("small"), _backbone_row("resnet26"),
    _backbone_row("resnet26", "group"), _backbone_row("resnet26", pyramid=8),
    Row("propose_boxes", _propose, _propose_inputs, (0,),
        covers=("stages.box_stage.propose_boxes",)),
    Row("refine_boxes", _refine, _refine_inputs, (0, 1), covers=("stages.bridge.refine_boxes",)),
    Row("refine_by_category", _refine_each, lambda rng: _refine_inputs(rng)[:2], (0, 1),
        covers=("stages.bridge.refine_by_category",)))
