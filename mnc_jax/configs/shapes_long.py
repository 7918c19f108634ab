r"""The demo's cascade, trained longer: the shipped weights are its result.

Paper:     as shapes.py
Data:      as shapes.py
Command:   mnc train --config shapes_long \
             --workdir runs/shapes_long
Hardware:  one CPU core, 53 minutes, with other work on the second (2026-11-27)
Expected:  mAP^r .90 at IoU .5, .85 at .7 and more.
Score:     mAP^r .908 at IoU .5, .887 at .7, mask AP .789, box AP .843 on the 200 held-out images
           (2026-11-27)
"""

import dataclasses

from mnc_jax.config import Config, ProposalConfig
from mnc_jax.configs import shapes


def get_config() -> Config:
  """Returns the demo's configuration with more steps, and more proposals at inference."""
  demo = shapes.get_config()
  return dataclasses.replace(
      demo,
      train=dataclasses.replace(
          demo.train, num_steps=4000, warmup_steps=100, checkpoint_every=500),
      # Twice as many voters, each more like the instance: mask AP .789 instead of .784.
      inference=dataclasses.replace(
          demo.inference, similar_iou=0.6,
          proposals=ProposalConfig(pre_nms=4000, num_proposals=128, min_box_size=4.0)))
