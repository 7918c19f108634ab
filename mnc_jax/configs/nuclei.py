r"""The cascade of nuclei_small at a larger scale, turned: the shipped model `nuclei` is its result.

Paper:     as nuclei_small.py
Data:      as nuclei_small.py
Command:   mnc train --config nuclei \
             --workdir runs/nuclei
Hardware:  two CPU cores beside other work, 52 minutes (2026-11-27); two idle cores need .78
           seconds a step (25 steps), so about 26 minutes, those of a slow machine 1.47 (40 steps,
           2026-11-28), so 49.
Expected:  mAP^r .75 at IoU .5 and more on held-out images.
Score:     mAP^r .800 at IoU .5 and .663 at .7, COCO mask AP .518, AP50 .791, box AP .514, on 60
           images, trained on 160; of all results instead of 100 per image .537 and .820
           (2026-11-27).
"""

import dataclasses

from mnc_jax.config import Config
from mnc_jax.configs import nuclei_small


def get_config() -> Config:
  """Returns the configuration."""
  small = nuclei_small.get_config()
  return dataclasses.replace(
      small, model=_model(small.model), data=_data(small.data), train=dataclasses.replace(
          small.train, learning_rate=2e-3, num_steps=2000, checkpoint_every=200),
      inference=_inference(small.inference))


def _model(small):
  # Half of the nuclei are 20 to 45 pixels wide at this scale, a tenth are below 14 or above 70.
  return dataclasses.replace(
      small, backbone_widths=(16, 64, 64, 96), anchor_scales=(2.5, 4.0, 6.0, 9.0, 14.0, 22.0),
      mask_size=24)


def _data(small):
  # Most images have 256 pixels: nuclei of 8 to 16 are enlarged to twice that.
  return dataclasses.replace(
      small, short_side=512, long_side=704, buckets=((512, 512), (512, 704), (704, 512)),
      crop_size=(224, 224), scale_jitter=(0.6, 1.6), turn=True)


def _inference(small):
  # Of 135000 anchors of a whole image; the best 3000 are copies of too few nuclei. Candidates of
  # box IoU below .7 are often of a neighbour.
  return dataclasses.replace(
      small, proposals=dataclasses.replace(small.proposals, pre_nms=12000), similar_iou=0.7)
