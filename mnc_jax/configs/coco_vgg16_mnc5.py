r"""MNC with VGG-16 and five stages on COCO 2017.

Paper:     Dai, He, Sun, "Instance-aware Semantic Segmentation via Multi-task Network
           Cascades", CVPR 2016, section 4.3 (there COCO 2014 trainval, scored on test-dev).
Data:      COCO 2017, prepared by mnc prepare --dataset coco.
Command:   mnc train --config coco_vgg16_mnc5 \
             --workdir runs/coco_vgg16_mnc5 --train.init-weights VGG16_FILE
           (where to get it: docs/guide/choosing_a_config.md#imagenet-weights)
Hardware:  8 accelerators with an image each, or as many images as fit; hours not measured.
Expected:  mask AP 19.5 on test-dev (paper). The schedule is ours: four times VOC's.
Score:     not yet run. If stage 1 finds little while the other losses fall, the box gradient is
           larger than that of L1 (docs/decisions/002): lower model.box_gradient_clip.
"""

from mnc_jax.config import Config, DataConfig, ModelConfig, TrainConfig


def get_config() -> Config:
  """Returns the configuration."""
  return Config(
      # COCO has smaller objects than VOC: a fourth anchor scale of 64 pixels.
      model=ModelConfig(backbone="vgg16", frozen_blocks=2, box_gradient_clip=1 / 512,
                        anchor_scales=(4.0, 8.0, 16.0, 32.0)),
      data=DataConfig(dataset="coco", batch_size=8, num_workers=4),
      train=TrainConfig(
          num_steps=160000, decay_steps=(128000,), learning_rate=1e-3, weight_decay=5e-4,
          # Fresh layers on pretrained features: SGD needs a gentle start.
          warmup_steps=500, clip_norm=10.0, checkpoint_every=5000))
