r"""Five stages on photographs, from VGG-16 trained on ImageNet: few categories or many.

Paper:     Dai, He, Sun, "Instance-aware Semantic Segmentation via Multi-task Network
           Cascades", CVPR 2016, on a finer map (model.pyramid_stride), with a convolutional mask
           head and normalised heads, which learn from a hundred photographs.
Data:      any prepared set of photographs; sides, anchors and steps are for short side 320 and
           objects of 20 to 400 pixels there.
Command:   mnc train --config photographs --workdir runs/photographs --data.data-dir data \
             --train.init-weights VGG16_FILE
           (VGG16_FILE: docs/guide/choosing_a_config.md#imagenet-weights)
Hardware:  two idle CPU cores of a slow machine, 4.3 seconds per step of two photographs (mean of
           12 steps, 2026-11-28), so about 20 minutes.
Expected:  the larger objects of one category from a hundred photographs; small ones are missed.
Score:     COCO mask AP .112, AP50 .291, box AP .122 on 63 photographs of people, trained on 98
           (2026-11-28).
"""

from mnc_jax.config import (
  Config,
  DataConfig,
  InferenceConfig,
  ModelConfig,
  ProposalConfig,
  TrainConfig,
)


def get_config() -> Config:
  """Returns the configuration."""
  return Config(model=_model(), data=_data(), train=_train(), inference=_inference())


def _model():
  return ModelConfig(
      backbone="vgg16", frozen_blocks=4, pyramid_stride=8, pyramid_width=256, normalize=True,
      # Sides of 24 to 384 pixels.
      anchor_scales=(3.0, 6.0, 12.0, 24.0, 48.0), box_stage_width=256,
      # One sample per cell instead of four: a step takes a seventh less time.
      roi_pool=1, roi_chunk=32, mask_head="conv", mask_convs=2, mask_hidden=128, mask_size=28,
      dense_width=1024, box_gradient_clip=1 / 512)


def _data():
  return DataConfig(
      dataset="coco", short_side=320, long_side=496, max_instances=50,
      scale_jitter=(0.8, 1.25), color_jitter=0.2, copy_paste=0.5, batch_size=2, eval_batch_size=2)


def _train():
  return TrainConfig(
      # Steps of the heads' size would undo what conv5 learned from ImageNet.
      optimizer="adamw", learning_rate=1e-3, backbone_rate=0.1, weight_decay=1e-3, clip_norm=10.0,
      schedule="cosine", num_steps=280, warmup_steps=20, checkpoint_every=70, log_every=10,
      # All anchors: the largest fit into no image, and are proposed all the same.
      anchors_per_image=128, anchor_border=1000.0,
      # The thousand best of 37000 anchors are some thirty boxes, each many times.
      proposals=ProposalConfig(pre_nms=6000, num_proposals=128, min_box_size=8.0),
      rois_per_image=32, roi_positive_fraction=0.5, weight_mask=2.0)


def _inference():
  return InferenceConfig(
      proposals=ProposalConfig(pre_nms=6000, num_proposals=200, min_box_size=8.0),
      # People stand close to each other; COCO's detectors have .5, too.
      nms_iou=0.5, max_instances=100)
