"""Every number of the cascade, with its unit and its source, as frozen dataclasses.

A `Config` is hashable, so that it can be a static argument of `jax.jit`. All
lengths are pixels of the network input unless a comment says otherwise.
"""

import dataclasses
import typing
from typing import Literal


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """What fixes the parameter tree and the forward pass."""

  num_categories: int = 0
  """C, background included. 0: `with_categories` fills it in from the data set."""
  trunk: Literal["vgg16", "resnet50", "resnet101", "resnet26", "small"] = "vgg16"
  """Shared features: VGG-16 to conv5_3 (stride 16); a ResNet to conv4_x (stride 16), whose
  conv5_x then takes the place of stage 3's dense layers; a small normalised hourglass (stride 4).
  ResNet-26 has two blocks a layer, few enough to learn from scratch."""
  trunk_norm: Literal["frozen_batch", "group"] = "frozen_batch"
  """Normalisation of a ResNet: `frozen_batch` belongs to pretrained weights and never moves,
  `group` learns from scratch."""
  resnet_width: int = 64
  """Channels of a ResNet's first convolution and of its conv2_x (He et al. 2016, table 1)."""
  trunk_widths: tuple[int, ...] = (32, 64, 96, 128)
  """Channels of the small trunk at strides 2, 4, 8, 16. The others ignore it."""
  share_features: bool = True
  """False gives stages 1, 2 and 3 a trunk each (the paper's ablation)."""
  pixel_mean_bgr: tuple[float, float, float] = (102.9801, 115.9465, 122.7717)
  """What a fresh VGG-16 or ResNet subtracts from its input (release). It becomes a parameter,
  `features/pixel_mean`, and pretrained weights bring their own."""
  frozen_blocks: int = 2
  """First blocks of a pretrained trunk, conv1_x, conv2_x and so on, that take no gradient; the
  release freezes two. The small trunk ignores it."""
  compute_dtype: Literal["float32", "bfloat16"] = "float32"
  """Of convolutions and dense layers. Parameters, geometry, and the last layer of each stage, which
  gives logits and deltas, stay float32."""
  partial_cells: bool = False
  """Feature cells that the image fills only in part count too, as Caffe's pooling rounds sizes
  up: 600 x 1000 pixels are 38 x 63 cells of stride 16 instead of 37 x 62 (release, VGG-16)."""
  anchor_scales: tuple[float, ...] = (8.0, 16.0, 32.0)
  """Anchor side over stride (paper, section 3.1, after Faster R-CNN)."""
  anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
  """Anchor height over width."""
  box_stage_width: int = 512
  """Channels of stage 1's 3 x 3 convolution."""
  roi_size: int = 14
  """Side of a RoI feature after pooling (paper, section 3.2)."""
  roi_pool: int = 2
  """Samples a RoI cell per axis, max-pooled: 28 x 28 samples give 14 x 14."""
  roi_grid: Literal["center", "edge", "caffe"] = "center"
  """Sampling grid of the RoI warp; see `ops.roi_warp`."""
  roi_method: Literal["gather", "matmul"] = "gather"
  """How the warp is computed; both give the same numbers."""
  roi_chunk: int = 16
  """RoIs warped and pooled at a time, so that the 28 x 28 samples never live whole."""
  mask_head: Literal["dense", "conv"] = "dense"
  """Stage 2: the paper's two dense layers, or convolutions that share what they learn over
  the cells of a box, and so learn from scratch with far fewer images."""
  mask_hidden: int = 256
  """Width of stage 2's hidden dense layer (paper, section 3.2), or of its convolutions."""
  mask_size: int = 28
  """M, side of a predicted mask (paper: 28; release: 21)."""
  dense_width: int = 4096
  """Width of stage 3's dense layers (fc6, fc7). With a ResNet there are none."""
  normalize: bool = False
  """Layer-normalise the dense layers: needed to learn from scratch, absent in VGG-16."""
  box_delta_stds: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
  """Scale of stage 3's class-wise box deltas (release)."""
  inclusive_corners: bool = False
  """Regressed boxes are written as their corners' pixels and read back inclusively, so each
  grows by a pixel to the right and below; RoIs are warped by the corners' pixels (release)."""
  box_gradient: bool = True
  """False stops the gradient between stages at the box coordinates (the paper's ablation)."""
  box_gradient_clip: float = 0.0
  """Largest gradient that a box delta takes from the later stages' losses on one image; 0 leaves
  it exact (release: 1/512). Its own stage's loss is never clipped."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Which images, at what size, in what order."""

  dataset: Literal["shapes", "coco", "sbd", "label_images"] = "coco"
  """Read from `data_dir`, where experiments/prepare.py puts it; `shapes` is drawn when first
  needed. `coco` is read from its files instead if one of the four paths below is given."""
  data_dir: str = "data"
  """Where data sets are prepared (TFDS layout)."""
  train_annotations: str = ""
  """`instances_*.json` of the training images (dataset `coco`)."""
  train_images: str = ""
  """Folder of the training images (dataset `coco`)."""
  eval_annotations: str = ""
  """`instances_*.json` of the evaluation images (dataset `coco`)."""
  eval_images: str = ""
  """Folder of the evaluation images (dataset `coco`)."""
  image_ids: tuple[int, ...] = ()
  """If not empty, train and evaluate on these images only."""
  short_side: int = 600
  """Images are scaled to this short side ..."""
  long_side: int = 1000
  """... unless the long side would exceed this (release)."""
  buckets: tuple[tuple[int, int], ...] = ((600, 1000), (1000, 600))
  """(height, width) that images are padded to; one compilation each."""
  stretch_contrast: bool = False
  """Spread each image's intensities over 0 ... 255, as is usual for microscopes, whose images
  may fill a small part of that range; see `data.transforms.stretch_contrast`."""
  max_instances: int = 100
  """G, ground-truth instances an image is padded to."""
  flip: bool = True
  """Flip half of the training images left to right."""
  scale_jitter: tuple[float, float] = (1.0, 1.0)
  """Training images are scaled by a further factor from this range; what then exceeds its
  bucket is cropped."""
  crop_share: float = 1.0
  """Training images are cropped to a random window of at least this share of each side, which
  keeps an instance; 1 crops nothing."""
  crop_size: tuple[int, int] = (0, 0)
  """Training images are cropped to this (height, width), and padded to it, instead of a bucket;
  (0, 0) leaves them whole. Evaluation sees whole images."""
  color_jitter: float = 0.0
  """Saturation, contrast and brightness change by a factor within 1 -+ this."""
  batch_size: int = 8
  """Images a training step, over all devices (paper, section 4)."""
  eval_batch_size: int = 8
  """Images an evaluation step, over all devices."""
  num_workers: int = 0
  """Processes that load images; 0 loads in the training process."""


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
  # Proposals that stage 1 hands on while training (release).
  pre_nms: int = 12000
  """Best anchors that enter the suppression."""
  proposal_nms_iou: float = 0.7
  """Above this IoU with a better one an anchor's box is dropped."""
  num_proposals: int = 300
  """Boxes kept after the suppression."""
  min_box_size: float = 16.0
  """Proposals with a shorter side are dropped."""
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
  truth_in_stage_4: bool = False
  """Ground-truth boxes join the refined RoIs that stages 4 and 5 train on (release)."""
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
  init_only_trunk: bool = False
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


@dataclasses.dataclass(frozen=True)
class InferenceConfig:
  """From cascade outputs to instances."""

  pre_nms: int = 6000
  """Best anchors that enter the suppression of proposals."""
  proposal_nms_iou: float = 0.7
  """Above this IoU with a better one an anchor's box is dropped."""
  num_proposals: int = 300
  """RoIs after stage 1; five stages make twice as many candidates (paper, section 3.4)."""
  min_box_size: float = 16.0
  """Proposals with a shorter side are dropped, in pixels of the network input."""
  release_bridge: bool = False
  """Stage 4's boxes follow the best category of all, background included (release), instead of
  the best foreground category."""
  refined_roi_pool: int = 0
  """Samples a RoI cell per axis in stages 4 and 5; 0: `model.roi_pool`, as in training. The
  release trains with 2 and tests with 1: there 14 x 14 samples are not pooled."""
  nms_iou: float = 0.3
  """Per category, between boxes."""
  suppression: Literal["greedy", "soft"] = "greedy"
  """`soft` lowers the scores of boxes that overlap a better one, instead of dropping those
  above `nms_iou` (Bodla et al. 2017, "Soft-NMS")."""
  soft_nms_sigma: float = 0.5
  """Of soft suppression: the smaller, the more an overlap costs (Bodla et al., section 6)."""
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


@dataclasses.dataclass(frozen=True)
class Config:
  """The whole experiment. See each part.

  Attributes:
    model: what the parameters are and how they are used.
    data: which images, and how they reach the network.
    train: losses, sampling, optimiser, bookkeeping.
    inference: from cascade outputs to instances.
  """

  model: ModelConfig = ModelConfig()
  data: DataConfig = DataConfig()
  train: TrainConfig = TrainConfig()
  inference: InferenceConfig = InferenceConfig()


def paper() -> Config:
  """Returns the cascade of the CVPR text, VGG-16 on VOC; where it is silent, of Fast R-CNN.

  Images keep their shape up to 600 x 2000. All anchors enter the suppression, and proposals of
  any size stay. Of the RoIs a quarter is foreground, and the others overlap an object by .1 or
  more (Girshick 2015, section 2.3).
  """
  return Config(
      model=ModelConfig(frozen_blocks=0, roi_grid="edge", box_delta_stds=(1.0, 1.0, 1.0, 1.0)),
      data=DataConfig(
          dataset="sbd", long_side=2000, flip=False,
          buckets=((600, 1000), (1000, 600), (600, 2000), (2000, 600))),
      train=TrainConfig(
          pre_nms=10**6, min_box_size=0.0, roi_positive_fraction=0.25,
          roi_hard_negative_fraction=1.0, mask_threshold=0.5, binarize_mask_targets=False),
      inference=InferenceConfig(pre_nms=10**6, min_box_size=0.0, mask_threshold=0.5))


def release() -> Config:
  """Returns the cascade of the authors' published code, whose scores are higher.

  Its smallest proposals have 16 pixels of the original image; here that is 25.6 pixels of the
  network input, 16 times the scale of VOC's usual 375 x 500.
  """
  return Config(
      model=ModelConfig(
          partial_cells=True, roi_grid="caffe", mask_size=21, inclusive_corners=True,
          box_gradient_clip=1 / 512),
      data=DataConfig(dataset="sbd"),
      train=TrainConfig(
          force_roi_anchors=True, min_box_size=25.6, truth_in_stage_4=True, weight_mask=2.0,
          bias_rate=2.0, num_steps=25000, decay_steps=(20000,)),
      inference=InferenceConfig(min_box_size=25.6, release_bridge=True, refined_roi_pool=1))


def with_categories(config: Config, names: typing.Sequence[str]) -> Config:
  """Returns `config` for a data set with these category names, background not among them.

  Args:
    config: with `config.model.num_categories` 0 or already right.
    names: of the categories; their number and one make C.

  Returns:
    The config with `config.model.num_categories` = C.

  Raises:
    ValueError: if `config.model.num_categories` is set and does not fit.

  Example:
    >>> import mnc_jax
    >>> mnc_jax.with_categories(mnc_jax.Config(), ["cat", "dog"]).model.num_categories
    3
  """
  count = len(names) + 1
  if config.model.num_categories not in (0, count):
    raise ValueError(
        f"config.model.num_categories is {config.model.num_categories} (background included), but "
        f"the data set has {len(names)} categories and background. Leave it 0 to follow the data.")
  return dataclasses.replace(
      config, model=dataclasses.replace(config.model, num_categories=count))
