r"""The authors' published model: MNC with VGG-16 and five stages on PASCAL VOC 2012.

Paper:     Dai, He, Sun, "Instance-aware Semantic Segmentation via Multi-task Network
           Cascades", CVPR 2016; numbers of github.com/daijifeng001/MNC, which scores higher.
Data:      SBD (`img/`, `inst/`, `cls/`, `train.txt`, `val.txt` of the SDS split: 5623 and 5732
           images), prepared by mnc prepare --dataset sbd.
Command:   mnc import-weights mnc_model.caffemodel.h5 \
             --config voc_vgg16_release --output runs/release
           mnc evaluate --workdir runs/release
           or, from ImageNet's weights, mnc train with this config.
Hardware:  one accelerator to evaluate; 8 with an image each to train; hours not measured.
Expected:  mAP^r 65.0 at IoU .5, 46.3 at .7 on val (the release's page). Its smallest proposals have
           16 pixels of the file; here 25.6 of the network's, the same where an image is scaled by
           1.6, as VOC's usual 375 x 500 are.
Score:     not yet run.
"""

import dataclasses

from mnc_jax import config
from mnc_jax.config import Config


def get_config() -> Config:
  """Returns the configuration."""
  preset = config.release()
  return dataclasses.replace(
      preset,
      data=dataclasses.replace(preset.data, num_workers=4),
      # The release starts from VGG-16's fc6 and fc7; without them, SGD needs a gentle start.
      train=dataclasses.replace(
          preset.train, warmup_steps=500, clip_norm=10.0, checkpoint_every=2000))
