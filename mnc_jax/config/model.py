"""What fixes the parameter tree and the forward pass."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """What fixes the parameter tree and the forward pass."""

  num_categories: int = 0
  """C, background included. 0: `with_categories` fills it in from the data set."""
  backbone: Literal["vgg16", "resnet50", "resnet101", "resnet26", "small"] = "vgg16"
  """Shared features: VGG-16 to conv5_3 (stride 16); a ResNet to conv4_x (stride 16), whose
  conv5_x then takes the place of stage 3's dense layers; a small normalised hourglass (stride 4).
  ResNet-26 has two blocks a layer, few enough to learn from scratch."""
  backbone_norm: Literal["frozen_batch", "group"] = "frozen_batch"
  """Normalisation of a ResNet: `frozen_batch` belongs to pretrained weights and never moves,
  `group` learns from scratch."""
  resnet_width: int = 64
  """Channels of a ResNet's first convolution and of its conv2_x (He et al. 2016, table 1)."""
  backbone_widths: tuple[int, ...] = (32, 64, 96, 128)
  """Channels of the small backbone at strides 2, 4, 8, 16. The others ignore it."""
  share_features: bool = True
  """False gives stages 1, 2 and 3 a backbone each (the paper's ablation)."""
  pixel_mean_bgr: tuple[float, float, float] = (102.9801, 115.9465, 122.7717)
  """What a fresh VGG-16 or ResNet subtracts from its input (release). It becomes a parameter,
  `features/pixel_mean`, and pretrained weights bring their own."""
  frozen_blocks: int = 2
  """First blocks of a pretrained backbone, conv1_x, conv2_x and so on, that take no gradient; the
  release freezes two. The small backbone ignores it."""
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
