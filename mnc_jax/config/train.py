"""Targets, losses, the optimiser, and the bookkeeping of a run."""

import dataclasses
from typing import Literal

from mnc_jax.config.proposal import ProposalConfig


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """Targets, losses and the optimiser."""

  num_stages: Literal[3, 5] = 5
  """Stages trained together (paper, section 3.4)."""
  seed: int = 0
  """Root of every random number of the run."""
  # Stage 1: which anchors count, and as what (paper, section 3.1; Faster R-CNN).
  anchors_per_image: int = 256
  """Anchors in the loss of an image, at most half of them positive."""
  anchor_positive_iou: float = 0.7
  """Anchors at or above this IoU with an instance are positive, and the best of each instance."""
  anchor_negative_iou: float = 0.3
  """Anchors below this IoU with every instance are negative."""
  anchor_border: float = 0.0
  """Anchors reaching more than this many pixels outside the image are left out."""
  force_roi_anchors: bool = False
  """The anchors that the sampled RoIs came from count too, as foreground or background like
  their RoI (release)."""
  # Proposals that stage 1 hands on while training.
  proposals: ProposalConfig = ProposalConfig()
  # RoIs sampled for stages 2 and 3 (release).
  rois_per_image: int = 64
  """Boxes sampled of an image, positive and negative together."""
  roi_positive_fraction: float = 0.3
  """Largest share of positive ones."""
  roi_positive_iou: float = 0.5
  """Positive are RoIs at or above this IoU with an instance."""
  roi_hard_negative_iou: float = 0.1
  """Negatives at or above this IoU are the hard ones."""
  roi_hard_negative_fraction: float = 0.85
  """Share of hard ones among the negatives."""
  gt_in_stage_4: bool = False
  """Ground-ground truth boxes join the refined RoIs that stages 4 and 5 train on (release)."""
  # Stage 2 and 3 targets (release).
  mask_threshold: float = 0.4
  """Binarises mask targets, and predicted masks before their IoU is taken."""
  binarize_mask_targets: bool = True
  """False leaves the targets as shares of each pixel that are object, 0 ... 1."""
  mask_label_iou: float = 0.5
  """A mask-level category needs this IoU between predicted and true mask."""
  # Loss weights.
  weight_box: float = 1.0
  """Of stage 1."""
  weight_mask: float = 1.0
  """Of stages 2 and 4 (release: 2)."""
  weight_category: float = 1.0
  """Of stages 3 and 5."""
  # Optimiser (paper, section 4; release).
  optimizer: Literal["sgd", "adamw"] = "sgd"
  """`sgd` is with momentum."""
  learning_rate: float = 1e-3
  """After the warm-up, before `schedule` lowers it."""
  momentum: float = 0.9
  """Of `sgd`."""
  weight_decay: float = 5e-4
  """Of weights; not of biases and scales (release)."""
  bias_rate: float = 1.0
  """Biases move at so many times the rate (release: 2)."""
  num_steps: int = 40000
  """Length of the run."""
  schedule: Literal["step", "cosine"] = "step"
  """`step` divides the rate by ten at each of `decay_steps`; `cosine` goes to zero."""
  decay_steps: tuple[int, ...] = (32000,)
  """Steps after which the rate is a tenth of what it was."""
  warmup_steps: int = 0
  """Steps in which the rate rises linearly from zero."""
  clip_norm: float = 0.0
  """Largest global gradient norm; 0 leaves gradients as they are."""
  # Bookkeeping.
  init_weights: str = ""
  """File to start from, known by its content: VGG-16 trained on ImageNet (NumPy, Keras,
  torchvision, timm or Caffe), with or without its dense layers, or a model of our own; see
  `weights.load_pretrained`. Empty: all weights are drawn at random."""
  init_reset_categories: bool = False
  """Of `init_weights`, leave out the layers that depend on the number of categories."""
  init_only_backbone: bool = False
  """Of `init_weights`, take the shared features alone."""
  log_every: int = 20
  """Steps from one line of metrics to the next."""
  checkpoint_every: int = 1000
  """Steps from one checkpoint to the next."""
  evaluate_every: int = 0
  """Steps from one validation to the next: losses, mAP^r, a panel of pictures, and the best
  state kept in `workdir/best`. 0: none."""
  hang_minutes: float = 30.0
  """On several hosts, a run without progress for so long is ended, since one of them hangs. A
  validation must take less. 0: never."""
  evaluate_images: int = 0
  """Validate on the first so many images of the evaluation split; 0: on all."""
