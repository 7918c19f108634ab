"""Multi-task Network Cascades (Dai, He, Sun, CVPR 2016) in JAX and Flax.

One image in; object instances out, each with a box, a pixel mask and a category.
`mnc_jax.structs` and `mnc_jax.model.cascade` tell the whole model.
"""

from mnc_jax.model.cascade import cascade_loss
from mnc_jax.model.cascade import init_params
from mnc_jax.config.experiment import Config
from mnc_jax.config.experiment import with_categories
from mnc_jax.model.inference import predict
from mnc_jax.model.inference import predict_ensemble
from mnc_jax.ops.anchors import make_anchors
from mnc_jax.ops.boxes import box_iou
from mnc_jax.ops.boxes import clip_boxes
from mnc_jax.ops.boxes import decode_boxes
from mnc_jax.ops.boxes import encode_boxes
from mnc_jax.ops.masks import paste_masks
from mnc_jax.ops.nms import nms
from mnc_jax.ops.nms import soft_nms
from mnc_jax.ops.roi_warp import roi_warp
from mnc_jax.ops.voting import vote_masks
from mnc_jax.structs import Batch
from mnc_jax.structs import Instances
from mnc_jax.training.parallel_step import make_pmapped_train_step
from mnc_jax.training.step import init_state
from mnc_jax.training.step import train_step
from mnc_jax.training.step import TrainState

__all__ = (
    "Batch",
    "Config",
    "Instances",
    "TrainState",
    "box_iou",
    "cascade_loss",
    "clip_boxes",
    "decode_boxes",
    "encode_boxes",
    "init_params",
    "init_state",
    "make_anchors",
    "make_pmapped_train_step",
    "nms",
    "paste_masks",
    "predict",
    "predict_ensemble",
    "roi_warp",
    "soft_nms",
    "train_step",
    "vote_masks",
    "with_categories",
)
