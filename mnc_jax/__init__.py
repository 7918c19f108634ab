"""Multi-task Network Cascades (Dai, He, Sun, CVPR 2016) in JAX and Flax.

One image in; object instances out, each with a box, a pixel mask and a category:

    model = mnc_jax.load("shapes")             # a shipped name, a .safetensors file, or a workdir
    found = mnc_jax.detect(model, image)       # a path, or [h, w, 3] uint8 RGB
    picture = mnc_jax.draw(image, found)

`mnc_jax.structs` and `mnc_jax.model.cascade` describe the whole model.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.2.0"

__all__ = (
    "Batch", "Config", "DataConfig", "Detections", "InferenceConfig", "Instances", "Model",
    "ModelConfig", "ProposalConfig", "TrainConfig", "TrainState", "box_iou", "cascade_loss",
    "clip_boxes", "decode_boxes", "detect", "draw", "encode_boxes", "init_params", "init_state",
    "load", "make_anchors", "make_pmapped_train_step", "nms", "paper", "paste_masks", "predict",
    "predict_ensemble", "register_backbone", "register_loss", "register_reader", "release",
    "roi_warp", "sample_images", "soft_nms", "train_step", "vote_masks", "with_categories")

if TYPE_CHECKING:  # For type checkers and editors: the same names as below.
  from mnc_jax import config as config, configs as configs, data as data, ops as ops
  from mnc_jax import evaluation as evaluation, model as model, parallel as parallel
  from mnc_jax import structs as structs, training as training, weights as weights
  from mnc_jax.config import (
      Config, DataConfig, InferenceConfig, ModelConfig, ProposalConfig, TrainConfig, paper, release,
      with_categories)
  from mnc_jax.data.reader_names import register_reader
  from mnc_jax.evaluation import metrics as metrics, visualize as visualize
  from mnc_jax.evaluation.detect import detect
  from mnc_jax.evaluation.visualize import draw
  from mnc_jax.model.backbones.features import register_backbone
  from mnc_jax.model.cascade import cascade_loss
  from mnc_jax.model.inference import predict, predict_ensemble
  from mnc_jax.model.losses import register_loss
  from mnc_jax.model.parameters import init_params
  from mnc_jax.model.trained import Model
  from mnc_jax.ops.anchors import make_anchors
  from mnc_jax.ops.boxes import box_iou, clip_boxes, decode_boxes, encode_boxes
  from mnc_jax.ops.masks import paste_masks
  from mnc_jax.ops.nms import nms, soft_nms
  from mnc_jax.ops.roi_warp import roi_warp
  from mnc_jax.ops.voting import vote_masks
  from mnc_jax.structs import Batch, Detections, Instances
  from mnc_jax.training.parallel_step import make_pmapped_train_step
  from mnc_jax.training.step import TrainState, init_state, train_step
  from mnc_jax.training.trained_model import load, sample_images
else:
  # Imported when first used: Flax and Optax alone take longer than `import mnc_jax` may, and
  # a user of `nms` needs neither.
  _MODULES = {
      "config": ("Config", "DataConfig", "InferenceConfig", "ModelConfig", "ProposalConfig",
                 "TrainConfig", "paper", "release", "with_categories"),
      "data.reader_names": ("register_reader",),
      "evaluation.detect": ("detect",),
      "evaluation.visualize": ("draw",),
      "model.backbones.features": ("register_backbone",),
      "model.cascade": ("cascade_loss",),
      "model.inference": ("predict", "predict_ensemble"),
      "model.losses": ("register_loss",),
      "model.parameters": ("init_params",),
      "model.trained": ("Model",),
      "ops.anchors": ("make_anchors",),
      "ops.boxes": ("box_iou", "clip_boxes", "decode_boxes", "encode_boxes"),
      "ops.masks": ("paste_masks",),
      "ops.nms": ("nms", "soft_nms"),
      "ops.roi_warp": ("roi_warp",),
      "ops.voting": ("vote_masks",),
      "structs": ("Batch", "Detections", "Instances"),
      "training.parallel_step": ("make_pmapped_train_step",),
      "training.step": ("TrainState", "init_state", "train_step"),
      "training.trained_model": ("load", "sample_images"),
  }
  _NAMES = {name: module for module, names in _MODULES.items() for name in names}
  _PACKAGES = {
      "metrics": "evaluation.metrics", "visualize": "evaluation.visualize",
      **{name: name for name in ("config", "configs", "data", "evaluation", "model", "ops",
                                 "parallel", "structs", "training", "weights")}}

  def __getattr__(name):
    if name in _PACKAGES:
      value = importlib.import_module(f"mnc_jax.{_PACKAGES[name]}")
    elif name in _NAMES:
      value = getattr(importlib.import_module(f"mnc_jax.{_NAMES[name]}"), name)
    else:
      raise AttributeError(f"module 'mnc_jax' has no attribute {name!r}")
    globals()[name] = value
    return value

  def __dir__():
    return sorted({*globals(), *_NAMES, *_PACKAGES})
