"""From anchors to proposals, in training and at inference."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ProposalConfig:
  """Which boxes stage 1 hands on (Ren et al. 2015, section 3.3)."""

  pre_nms: int = 12000
  """Best-scored anchors that enter NMS (release: 12000 in training, 6000 at test)."""
  nms_iou: float = 0.7
  """An anchor's box above this IoU with a better one is dropped."""
  num_proposals: int = 300
  """R, boxes kept after NMS. At inference five stages make 2R candidates (paper, section 3.4)."""
  min_box_size: float = 16.0
  """Boxes with a shorter side are dropped, in pixels of the network input (release)."""
