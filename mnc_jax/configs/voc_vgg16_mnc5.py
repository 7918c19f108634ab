r"""MNC with VGG-16 and five stages on PASCAL VOC 2012 with SBD's masks: the paper's main result.

Paper:     Dai, He, Sun, "Instance-aware Semantic Segmentation via Multi-task Network
           Cascades", CVPR 2016, sections 4 and 4.1.
Data:      SBD (`img/`, `inst/`, `cls/`, `train.txt`, `val.txt` of the SDS split: 5623 and 5732
           images), prepared by mnc prepare --dataset sbd.
Command:   mnc train --config voc_vgg16_mnc5 \
             --workdir runs/voc_vgg16_mnc5 --train.init-weights VGG16_FILE
           (where to get it: docs/guide/choosing_a_config.md#imagenet-weights)
Hardware:  8 accelerators with an image each, or as many images as fit; hours not measured.
Expected:  mAP^r 63.5 at IoU .5, 41.5 at .7 on val (paper).
Score:     not yet run. If stage 1 finds little while the other losses fall, the box gradient is
           larger than that of L1 (docs/decisions/002): lower model.box_gradient_clip.
"""

import dataclasses

from mnc_jax import config
from mnc_jax.config import Config


def get_config() -> Config:
  """Returns the configuration."""
  preset = config.paper()
  return dataclasses.replace(
      preset,
      # Exact gradients at the boxes are the paper's; the release clips them at 1/512.
      model=dataclasses.replace(preset.model, box_gradient_clip=1 / 512),
      data=dataclasses.replace(preset.data, num_workers=4),
      # The paper starts from VGG-16's fc6 and fc7; without them, SGD needs a gentle start.
      train=dataclasses.replace(
          preset.train, warmup_steps=500, clip_norm=10.0, checkpoint_every=2000))
