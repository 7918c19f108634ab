"""Presets: the paper's hyperparameters, and those of the authors' released code."""

from mnc_jax.config.data import DataConfig
from mnc_jax.config.experiment import Config
from mnc_jax.config.inference import InferenceConfig
from mnc_jax.config.model import ModelConfig
from mnc_jax.config.proposal import ProposalConfig
from mnc_jax.config.train import TrainConfig


def paper() -> Config:
  """Returns the cascade of the CVPR text, VGG-16 on VOC; where it is silent, of Fast R-CNN.

  Images keep their shape up to 600 x 2000. All anchors enter the NMS, and proposals of
  any size stay. Of the RoIs a quarter is foreground, and the others overlap an object by .1 or
  more (Girshick 2015, section 2.3).

  Example:
    >>> import mnc_jax
    >>> mnc_jax.paper().model.mask_size, mnc_jax.paper().train.rois_per_image
    (28, 64)
  """
  return Config(
      model=ModelConfig(frozen_blocks=0, roi_grid="edge", box_delta_stds=(1.0, 1.0, 1.0, 1.0)),
      data=DataConfig(
          dataset="sbd", long_side=2000, flip=False,
          buckets=((600, 1000), (1000, 600), (600, 2000), (2000, 600))),
      train=TrainConfig(
          proposals=ProposalConfig(pre_nms=10**6, min_box_size=0.0), roi_positive_fraction=0.25,
          roi_hard_negative_fraction=1.0, mask_threshold=0.5, binarize_mask_targets=False),
      inference=InferenceConfig(
          proposals=ProposalConfig(pre_nms=10**6, min_box_size=0.0), boxes="mask",
          mask_threshold=0.5))


def release() -> Config:
  """Returns the cascade of the authors' published code, whose scores are higher.

  Its smallest proposals have 16 pixels of the original image; here that is 25.6 pixels of the
  network input, 16 times the scale of VOC's usual 375 x 500.

  Example:
    >>> import mnc_jax
    >>> mnc_jax.release().model.mask_size, mnc_jax.release().train.rois_per_image
    (21, 64)
  """
  return Config(
      model=ModelConfig(
          partial_cells=True, roi_grid="caffe", mask_size=21, mask_resize="bilinear",
          inclusive_corners=True, box_gradient_clip=1 / 512),
      data=DataConfig(dataset="sbd"),
      train=TrainConfig(
          force_roi_anchors=True, proposals=ProposalConfig(min_box_size=25.6),
          gt_in_stage_4=True, weight_mask=2.0,
          bias_rate=2.0, decay_biases=True, num_steps=25000, decay_steps=(20000,)),
      inference=InferenceConfig(
          proposals=ProposalConfig(pre_nms=6000, min_box_size=25.6), release_bridge=True,
          refined_roi_pool=1, boxes="mask"))
