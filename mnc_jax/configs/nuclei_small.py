r"""Five stages from scratch on microscope images: many small instances of one category.

Paper:     Dai, He, Sun, "Instance-aware Semantic Segmentation via Multi-task Network
           Cascades", CVPR 2016, with the small backbone at stride 4 of shapes.py.
Data:      any folder of images/ and labels/ (one value per instance), prepared by
           mnc prepare --dataset label_images; made for the 2018 Data Science Bowl.
Command:   mnc train --config nuclei_small \
             --workdir runs/nuclei_small
Hardware:  2 CPU cores, about 18 minutes (1.4 steps a second, 2026-11-26); a step alone took .45
           seconds on idle cores (docs/performance.md), 11 minutes in all.
Expected:  mAP^r .50 at IoU .5 and more on held-out images.
Score:     mAP^r .785 at IoU .5 and .594 at .7, COCO mask AP .490, AP50 .763, box AP .486, on 60
           images, trained on 160 (2026-11-26).
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
      # Nuclei are 6 to 60 pixels wide at this scale, and nearly round.
      anchor_scales=(2.0, 3.0, 4.5, 6.5, 10.0, 15.0), anchor_ratios=(1.0,),
      roi_size=8, roi_method="gather", roi_chunk=24,
      mask_head="conv", mask_hidden=48, mask_size=16, dense_width=128,
      box_gradient_clip=1 / 512)


def _data():
  return DataConfig(
      dataset="label_images", short_side=320, long_side=448,
      buckets=((320, 320), (320, 448), (448, 320)), max_instances=400,
      stretch_contrast=True,
      # Crops bring images of all shapes to one size, and one compilation.
      crop_size=(192, 192), scale_jitter=(0.7, 1.4), color_jitter=0.3,
      batch_size=8, eval_batch_size=2)


def _train():
  return TrainConfig(
      optimizer="adamw", learning_rate=1e-3, weight_decay=1e-4, clip_norm=10.0,
      schedule="cosine", num_steps=1500, warmup_steps=50, checkpoint_every=250,
      # Few pixels more or less are much of a small box: .7 would leave most with one anchor.
      anchors_per_image=128, anchor_positive_iou=0.5,
      proposals=ProposalConfig(pre_nms=1500, num_proposals=128, min_box_size=3.0),
      rois_per_image=48, roi_positive_fraction=0.5, weight_mask=2.0)


def _inference():
  # Up to 375 nuclei lie in one image.
  return InferenceConfig(
      proposals=ProposalConfig(pre_nms=3000, num_proposals=400, min_box_size=3.0),
      max_instances=400,
      # The largest images of the training set are shrunk by 3.2.
      max_shrink=4.0)
