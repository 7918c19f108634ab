"""From cascade outputs to instances."""

import dataclasses
from typing import Literal

from mnc_jax.config.proposal import ProposalConfig


@dataclasses.dataclass(frozen=True)
class InferenceConfig:
  """From cascade outputs to instances."""

  proposals: ProposalConfig = ProposalConfig(pre_nms=6000)
  release_bridge: bool = False
  """Stage 4's boxes follow the best category of all, background included (release), instead of
  the best foreground category."""
  refined_roi_pool: int = 0
  """Samples a RoI cell per axis in stages 4 and 5; 0: `model.roi_pool`, as in training. The
  release trains with 2 and tests with 1: there 14 x 14 samples are not pooled."""
  nms_iou: float = 0.3
  """Per category, between boxes."""
  nms: Literal["greedy", "soft"] = "greedy"
  """`soft` lowers the scores of boxes that overlap a better one, instead of dropping those
  above `nms_iou` (Bodla et al. 2017, "Soft-NMS")."""
  soft_nms_sigma: float = 0.5
  """Of soft-NMS: the smaller, the more an overlap costs (Bodla et al., section 6)."""
  similar_iou: float = 0.5
  """Candidates at or above this box IoU vote on a mask."""
  mask_threshold: float = 0.4
  """Binarises voted masks (release)."""
  max_instances: int = 100
  """D, instances an image."""
  min_score: float = 0.0
  """Instances below it are not given."""
  # Views of one image whose candidates are merged before voting. Each runs the whole cascade.
  flip: bool = False
  """See each image mirrored too (at every scale), as the paper's entry to COCO did."""
  scales: tuple[float, ...] = (1.0,)
  """See each image at these factors of the network input. `min_box_size` holds in each view as
  it is: at factor 2 proposals of half the size count."""
