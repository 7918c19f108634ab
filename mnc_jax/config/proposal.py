"""From anchors to proposals, in training and at inference."""

import dataclasses

from mnc_jax.config.section import Section


@dataclasses.dataclass(frozen=True)
class ProposalConfig(Section):
  """Boxes that stage 1 passes on (Ren et al. 2015, section 3.3)."""

  pre_nms: int = 12000
  """Number of best-scored boxes that enter NMS (release: 12000 in training, 6000 at inference)."""
  nms_iou: float = 0.7
  """A box with a larger IoU with a better one is dropped by NMS (paper, section 3.1)."""
  num_proposals: int = 300
  """Largest number of boxes kept after NMS, R. At inference the five stages give 2R candidates
  (paper, section 3.4)."""
  min_box_size: float = 16.0
  """Boxes with a shorter side are dropped, in pixels of the network input (release: 16 pixels of
  the original image)."""
