r"""MNC with VGG-16 on eight real photographs: does the whole cascade fit what it is shown?

Paper:     Dai, He, Sun, "Instance-aware Semantic Segmentation via Multi-task Network
           Cascades", CVPR 2016; dense layers of 512 instead of 4096, short side 320.
Data:      eight images of COCO 2017 train, by the ids in `_data()`: each has 2 to 8 instances,
           none a crowd, each at least 1 % of its image.
Command:   mnc train --config coco_mini_overfit \
             --workdir runs/coco_mini_overfit --data.train-annotations COCO/instances_train.json \
             --data.train-images COCO/train --data.eval-annotations COCO/instances_train.json \
             --data.eval-images COCO/train --train.init-weights VGG16_FILE
           (where to get it: docs/guide/choosing_a_config.md#imagenet-weights)
Hardware:  1 CPU core, 57 minutes beside much other work (2026-11-26)
Expected:  mAP^r .70 at IoU .5 and more, on what it was trained on.
Score:     mAP^r .949 at IoU .5, .919 at .7 on the same eight images (2026-11-26)
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
      backbone="vgg16", frozen_blocks=5,
      # Objects of 30 to 400 pixels on a stride of 16.
      anchor_scales=(2.0, 4.0, 8.0, 16.0), box_stage_width=256,
      mask_hidden=256, mask_size=28, dense_width=512,
      # The new dense layers start from nothing, with a fiftieth of the paper's images.
      normalize=True,
      # With the exact gradient the later losses outweigh L1, whose own is at most 1 / 64.
      box_gradient_clip=1 / 512)


def _data():
  return DataConfig(
      dataset="coco", image_ids=(25, 30, 36, 72, 73, 86, 92, 136),
      short_side=320, long_side=496, max_instances=8, flip=False, batch_size=2, eval_batch_size=2)


def _train():
  return TrainConfig(
      optimizer="adamw", learning_rate=3e-4, weight_decay=1e-4, clip_norm=10.0,
      schedule="cosine", num_steps=400, warmup_steps=20, checkpoint_every=50, log_every=10,
      anchors_per_image=64, rois_per_image=48, weight_mask=2.0,
      proposals=ProposalConfig(pre_nms=1000, num_proposals=100, min_box_size=8.0))


def _inference():
  return InferenceConfig(
      proposals=ProposalConfig(pre_nms=1000, num_proposals=100, min_box_size=8.0),
      max_instances=30)
