"""From the outputs of the cascade to instances."""

import dataclasses
from typing import Literal

from mnc_jax.config.proposal import ProposalConfig
from mnc_jax.config.section import Section


@dataclasses.dataclass(frozen=True)
class InferenceConfig(Section):
  """From the outputs of the cascade to instances."""

  proposals: ProposalConfig = ProposalConfig(pre_nms=6000)
  """Boxes that stage 1 passes on at inference."""
  release_bridge: bool = False
  """Whether RoIs are refined by the box deltas of their best category even if that is background,
  as in the release. False: of their best foreground category."""
  refined_roi_pool: int = 0
  """Samples per RoI cell and axis in stages 4 and 5 (release: 1). 0: as model.roi_pool."""
  nms_iou: float = 0.3
  """A box with a larger IoU with a better one of its category is dropped by NMS (paper, section
  3.4)."""
  nms: Literal["greedy", "soft"] = "greedy"
  """Kind of NMS on instances. soft: lowers the scores of boxes that overlap a better one, instead
  of dropping them (Bodla et al. 2017, "Soft-NMS"); nms_iou is ignored."""
  soft_nms_sigma: float = 0.5
  """Width of soft-NMS's Gaussian: scores are multiplied by exp(-IoU^2 / this) (Bodla et al.,
  section 6)."""
  similar_iou: float = 0.5
  """Candidates with at least this box IoU with an instance vote on its mask (paper, section
  3.4)."""
  boxes: Literal["regressed", "mask"] = "regressed"
  """Box of an instance. regressed: the boxes of the candidates that vote, each moved once more by
  its box deltas of the instance's category, averaged by their scores (as the box layers of stages 3
  and 5 in the paper, section 4.1). mask: the bounds of the voted mask (paper; release). Masks are
  the same with both."""
  mask_threshold: float = 0.4
  """Pixels of a voted mask above this belong to the instance (paper: .5; release: .4)."""
  max_instances: int = 100
  """Largest number of instances per image, D: those of the highest scores. Of an image in tiles:
  per tile; all of them are merged."""
  min_score: float = 0.0
  """Instances below this score are dropped."""
  # Views of one image whose candidates are merged before voting. Each runs the whole cascade.
  flip: bool = False
  """Whether each image is also run flipped left to right, at each of the scales; candidates of all
  views vote together (as in the paper's COCO entry)."""
  scales: tuple[float, ...] = (1.0,)
  """Factors on the size of the network input; each image is run at each of them, and candidates
  vote together. proposals.min_box_size is in pixels of the scaled input."""
  # Tiles of large images, in detect, mnc predict and mnc evaluate. Validation while training
  # scores whole images.
  max_shrink: float = 16.0
  """Largest factor by which an image is shrunk to the network input. Of a larger image, tiles are
  run as well, at scales about a factor of 2 apart, the last shrunk by this factor; what all of them
  find is merged. 0: each image is run as a whole. The default leaves photographs of up to 24
  megapixels whole, from a short side of 320 on."""
  tile_overlap: float = 0.4
  """Least overlap of neighbouring tiles, as a share of their sides, .1 to .8. No object up to it is
  cut in all of the tiles of one scale; a larger one is taken from the next, where it is half as
  large."""
