"""MNC with five stages on drawn shapes, from scratch: the configuration of `make demo`.

Paper:     Dai, He, Sun, "Instance-aware Semantic Segmentation via Multi-task Network
           Cascades", CVPR 2016, with a small backbone at stride 4 instead of VGG-16.
Data:      shapes, drawn and prepared at the first run.
Command:   mnc train --config shapes --workdir runs/shapes
Hardware:  2 idle CPU cores, 3.3 minutes (of the 4.8 of `make demo`; 2026-11-27)
Expected:  mAP^r .80 at IoU .5, .70 at .7 and more on the 200 held-out images.
Score:     mAP^r .872 at IoU .5, .785 at .7, mask AP .641, box AP .695 on 2 cores (2026-11-28);
           on one core .849, .782, .637 and .688, means of three seeds .842, .760, .620 and .676.
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
      backbone="small", backbone_widths=(16, 48, 64, 96), box_stage_width=64, normalize=True,
      # Shapes are 20 to 52 pixels wide.
      anchor_scales=(5.0, 8.0, 12.0), anchor_ratios=(0.5, 1.0, 2.0),
      roi_size=8, roi_method="gather",
      mask_head="conv", mask_hidden=48, mask_size=24, dense_width=256,
      # Measured after 250 steps: unclipped, L3 moves stage 1's box deltas 14 times as hard as L1.
      box_gradient_clip=1 / 512)


def _data():
  return DataConfig(
      dataset="shapes", short_side=128, long_side=128, max_instances=8,
      batch_size=8, eval_batch_size=8)


def _train():
  return TrainConfig(
      optimizer="adamw", learning_rate=2e-3, weight_decay=1e-4, clip_norm=10.0,
      schedule="cosine", num_steps=700, warmup_steps=50, checkpoint_every=350,
      anchors_per_image=64,
      proposals=ProposalConfig(pre_nms=1000, num_proposals=64, min_box_size=4.0),
      rois_per_image=32, roi_positive_fraction=0.5, weight_mask=2.0)


def _inference():
  return InferenceConfig(
      proposals=ProposalConfig(pre_nms=1000, num_proposals=64, min_box_size=4.0), max_instances=20,
      # Shapes of 80 to 208 pixels in the file are then of the sizes trained on.
      max_shrink=4.0)
