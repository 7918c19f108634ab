"""Targets, losses, optimiser, and the bookkeeping of a run."""

import dataclasses
from typing import Literal

from mnc_jax.config.proposal import ProposalConfig
from mnc_jax.config.section import Section


@dataclasses.dataclass(frozen=True)
class TrainConfig(Section):
  """Targets, losses, optimiser, and the bookkeeping of a run."""

  num_stages: Literal[3, 5] = 5
  """Number of stages that are trained together (paper, section 3.4). Inference runs five always."""
  seed: int = 0
  """Seed of all random numbers of the run."""
  # Stage 1: labels of anchors (paper, section 3.1; Faster R-CNN).
  anchors_per_image: int = 256
  """Anchors per image in the loss of stage 1, at most half of them positive."""
  anchor_positive_iou: float = 0.7
  """Anchors with at least this IoU with an instance are positive, and so is the best anchor of each
  instance."""
  anchor_negative_iou: float = 0.3
  """Anchors with a smaller IoU with every instance are negative. Those between are ignored."""
  anchor_border: float = 0.0
  """Pixels by which an anchor in the loss may reach beyond the image."""
  force_roi_anchors: bool = False
  """Whether the anchors of the sampled RoIs enter stage 1's loss too, as positive if the RoI is
  foreground and negative if not (release)."""
  proposals: ProposalConfig = ProposalConfig()
  """Boxes that stage 1 passes on in training."""
  # RoIs sampled for stages 2 and 3 (release).
  rois_per_image: int = 64
  """RoIs sampled per image, foreground and background together."""
  roi_positive_fraction: float = 0.3
  """Largest share of foreground among the sampled RoIs, unless background is short."""
  roi_positive_iou: float = 0.5
  """RoIs with at least this IoU with an instance are foreground (paper, section 3.2)."""
  roi_hard_negative_iou: float = 0.1
  """Background RoIs with at least this IoU with an instance are hard negatives."""
  roi_hard_negative_fraction: float = 0.85
  """Share of hard negatives among the background RoIs."""
  gt_in_stage_4: bool = False
  """Whether ground-truth boxes join the refined RoIs on which stages 4 and 5 are trained
  (release)."""
  # Targets of stages 2 and 3 (release).
  mask_threshold: float = 0.4
  """Threshold at which mask targets, and predicted masks for mask_label_iou, become binary
  (paper: .5; release: .4)."""
  binarize_mask_targets: bool = True
  """Whether mask targets are binary. False: the object's mask read at the centre of each pixel,
  0 ... 1."""
  mask_label_iou: float = 0.5
  """A RoI whose predicted mask has a smaller IoU with the instance is background to the mask-level
  classifier (paper, section 3.3)."""
  # Losses, and their weights.
  box_loss: str = "paper"
  """Loss of stage 1: paper, or one that the program registered (mnc_jax.register_loss)."""
  mask_loss: str = "paper"
  """Loss of stages 2 and 4: paper, or one that the program registered."""
  category_loss: str = "paper"
  """Loss of stages 3 and 5: paper, or one that the program registered."""
  weight_box: float = 1.0
  """Weight of the loss of stage 1."""
  weight_mask: float = 1.0
  """Weight of the losses of stages 2 and 4 (release: 2)."""
  weight_category: float = 1.0
  """Weight of the losses of stages 3 and 5."""
  # Optimiser (paper, section 4; release).
  optimizer: Literal["sgd", "adamw"] = "sgd"
  """Optimiser; sgd has momentum."""
  learning_rate: float = 1e-3
  """Learning rate after the warm-up, before the schedule lowers it."""
  momentum: float = 0.9
  """Momentum of sgd."""
  weight_decay: float = 5e-4
  """Weight decay. The scales of normalisations are not decayed, biases only with decay_biases."""
  decay_biases: bool = False
  """Whether biases are decayed too (release: its prototxt sets lr_mult 2 and leaves decay_mult at
  1)."""
  bias_rate: float = 1.0
  """Learning-rate factor of biases (release: 2)."""
  backbone_rate: float = 1.0
  """Learning-rate factor of the backbone, whose pretrained weights need smaller steps than the new
  ones of the heads. AdamW's steps are as large as its rate, however small the gradient. Pretrained
  layers of stage 3 (conv5_x of a ResNet without pyramid, fc6 and fc7 of VGG-16) count as heads."""
  num_steps: int = 40000
  """Number of steps of the run."""
  schedule: Literal["step", "cosine"] = "step"
  """Learning-rate schedule. step: divided by ten at each of decay_steps. cosine: down to zero at
  num_steps."""
  decay_steps: tuple[int, ...] = (32000,)
  """Steps after which the learning rate is divided by ten, with schedule step."""
  warmup_steps: int = 0
  """Number w of first steps with a lower learning rate: step n, counted from 0, has (n + 1) /
  (w + 1) of it. 0: no warm-up."""
  clip_norm: float = 0.0
  """Largest global norm of the gradient, to which longer ones are scaled. 0: not clipped."""
  accumulate_steps: int = 1
  """Number of steps whose gradients are averaged for one update of the weights: batches larger than
  the memory holds. Rates, warm-up and num_steps count steps all the same. Each step has the same
  weight in the mean, however many of its images could be read. The optimiser's state grows by the
  size of the weights."""
  average_decay: float = 0.0
  """Decay d of an exponential moving average of the weights (Polyak and Juditsky 1992), which is
  about that of the last 1 / (1 - d) updates; for example 0.999. It is what is evaluated, saved as
  the model and exported; the trained weights are saved beside it. 0: none."""
  # Several devices.
  gradient_exchange_dtype: Literal["float32", "bfloat16"] = "float32"
  """Type in which devices exchange their gradients. bfloat16 halves the bytes; each term and each
  sum of some of them is rounded to 8 bits. The optimiser stays in float32."""
  shard_optimizer: bool = False
  """Whether each device keeps and updates only a part of the optimiser's state, which saves memory
  and the time of the update. Checkpoints are the same."""
  # Bookkeeping.
  init_weights: str = ""
  """File of pretrained weights to start from: VGG-16 or ResNet trained on ImageNet, the release, or
  a model of mnc export; mnc import-weights --help lists the formats. Empty: random weights."""
  init_reset_categories: bool = False
  """Whether the layers that depend on the categories stay random instead of loading them from
  init_weights."""
  init_only_backbone: bool = False
  """Whether only the backbone is loaded from init_weights."""
  log_every: int = 20
  """Steps between two outputs of the metrics; those of each step are logged."""
  log_to: tuple[Literal["tensorboard", "wandb", "clu"], ...] = ("tensorboard",)
  """What metrics and pictures are written to besides metrics.jsonl: TensorBoard's files, Weights &
  Biases, CLU's metric writers. Each of the last two is an extra of the package by its name."""
  profile_steps: tuple[int, ...] = ()
  """First and last step of which a profile for XProf is written to profile/ of the workdir. Empty:
  none."""
  checkpoint_every: int = 1000
  """Steps between two checkpoints. 0: only at the end."""
  evaluate_every: int = 0
  """Steps between two validations, which log losses, mAP^r and pictures, and keep the best state in
  best/ of the workdir. 0: none."""
  patience: int = 0
  """Validations in a row without a higher mAP^r at IoU .5 after which the training ends; the best
  state is in best/. 0: it never ends before num_steps."""
  hang_minutes: float = 30.0
  """Minutes without progress after which a run on several hosts is stopped, since a host hangs.
  Longer than compilation takes, scoring in a validation, and log_every steps. 0: never."""
  evaluate_images: int = 0
  """Number of images of the evaluation split that validations use, evenly spaced over it: many
  sets are sorted by kind or place. 0: all."""
