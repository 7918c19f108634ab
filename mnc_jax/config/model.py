"""The architecture, and how its forward pass is computed."""

import dataclasses
from typing import Literal

from mnc_jax.config.section import Section

BackboneName = Literal["vgg16", "resnet50", "resnet101", "resnet26", "small"]


@dataclasses.dataclass(frozen=True)
class ModelConfig(Section):
  """The architecture, and how its forward pass is computed."""

  num_categories: int = 0
  """Number of categories C, background included. 0: taken from the data set."""
  backbone: BackboneName | str = "vgg16"
  """Network of the shared features. vgg16: up to conv5_3, stride 16. resnet50, resnet101: up to
  conv4_x, stride 16; conv5_x replaces the dense layers of stage 3 (He et al. 2016, appendix A).
  resnet26: the same with two blocks per layer, to train from scratch. small: an hourglass with
  layer normalisation, stride 4, to train from scratch. Or one that the program registered
  (mnc_jax.register_backbone)."""
  backbone_norm: Literal["frozen_batch", "group"] = "frozen_batch"
  """Normalisation of a ResNet. frozen_batch: batch normalisation with the statistics, scales and
  offsets of pretrained weights, never updated. group: group normalisation, to train from
  scratch."""
  resnet_width: int = 64
  """Channels of a ResNet's conv1, and of the 3 x 3 convolutions in conv2_x (He et al. 2016,
  table 1)."""
  backbone_widths: tuple[int, ...] = (32, 64, 96, 128)
  """Channels of the small backbone at strides 2, 4, 8, 16, and so on. Ignored by the others."""
  pyramid_stride: Literal[0, 4, 8, 16] = 0
  """Stride of the features of a VGG-16 or ResNet if its blocks from this stride on are joined from
  coarse to fine (Lin et al. 2017, "Feature Pyramid Networks"): small objects and the borders of
  masks need a finer map than conv5_3's. RoIs of all sizes use this one map. 0: the last block
  alone, stride 16 (paper)."""
  pyramid_width: int = 256
  """Channels of the joined map (Lin et al.: 256)."""
  share_features: bool = True
  """Whether stages 1, 2 and 3 share one backbone. False gives each its own (the paper's ablation,
  table 1)."""
  pixel_mean_bgr: tuple[float, float, float] = (102.9801, 115.9465, 122.7717)
  """Mean (blue, green, red), of 0 to 255, that a VGG-16 or ResNet with random weights subtracts
  from its input (release). Pretrained weights bring their own."""
  frozen_blocks: int = 2
  """Number of first blocks of a VGG-16 or ResNet that are not trained: conv1_x, conv2_x, and so on
  (release: 2). 0: all are trained. Ignored by the small backbone."""
  compute_dtype: Literal["float32", "bfloat16", "float64"] = "float32"
  """Type of the activations in convolutions and dense layers. Parameters, geometry, and the last
  layer of each stage are float32 always. float64 is for comparing gradients with differences,
  inside jax.enable_x64 and with parameters of float64; elsewhere JAX warns and uses float32."""
  partial_cells: bool = False
  """Whether feature cells that the image covers only partly are used, as Caffe's pooling rounds
  sizes up: 600 x 1000 pixels have 38 x 63 cells of stride 16 then, otherwise 37 x 62 (release,
  VGG-16)."""
  anchor_scales: tuple[float, ...] = (8.0, 16.0, 32.0)
  """Sizes of the anchors: square root of their area, in strides of the backbone (paper, section
  3.1; Faster R-CNN)."""
  anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
  """Height over width of the anchors. Each cell has an anchor per scale and ratio."""
  box_stage_width: int = 512
  """Channels of the 3 x 3 convolution in stage 1, the region proposal network."""
  roi_size: int = 14
  """Cells per side of the features of a RoI (paper, section 3.2): even, as stage 3 pools 2 x 2."""
  roi_pool: int = 2
  """Samples per RoI cell and axis, which are max-pooled: 2 pools 28 x 28 samples to 14 x 14 cells
  (paper, section 3.2). 1: no pooling."""
  roi_grid: Literal["center", "edge", "caffe"] = "center"
  """Positions of the samples in a RoI. center: aligned cell centres, as RoIAlign. edge: the paper's
  formula, without the half-cell offset. caffe: corners rounded to whole cells (release). See
  mnc_jax.roi_warp."""
  roi_border: Literal["clamp", "zero"] = "clamp"
  """What samples beyond the centre of a border cell of the image read. clamp: that cell, as
  RoIAlign. zero: they fade to 0. Without effect on the grid caffe, which has a rule of its own."""
  roi_method: Literal["gather", "matmul"] = "gather"
  """How RoI warping is computed, with the same result. gather: reads four neighbours per sample.
  matmul: multiplies by interpolation matrices, for small maps and accelerators with slow
  gathers."""
  roi_chunk: int = 16
  """Number of RoIs that are warped and pooled at a time. Lower needs less memory."""
  mask_head: Literal["dense", "conv"] = "dense"
  """Head of stage 2. dense: two dense layers (paper, section 3.2). conv: mask_convs 3 x 3
  convolutions, which learn in fewer steps and from fewer images."""
  mask_convs: int = 2
  """Number of 3 x 3 convolutions of mask_head conv (He et al. 2017, "Mask R-CNN": 4)."""
  mask_hidden: int = 256
  """Width of stage 2's hidden dense layer (paper, section 3.2), or channels of its convolutions."""
  mask_size: int = 28
  """Pixels per side, M, of the mask predicted in a RoI (paper: 28; release: 21). With mask_head
  conv a multiple of roi_size."""
  mask_resize: Literal["mean", "bilinear"] = "mean"
  """How stage 2's mask becomes the size of the RoI features that stage 3 multiplies by it. mean:
  the mean of the mask under each RoI cell. bilinear: one sample per RoI cell, half a cell off
  (release)."""
  dense_width: int = 4096
  """Width of the dense layers fc6 and fc7 in stage 3. Ignored with a ResNet without
  pyramid_stride, which has its conv5_x instead."""
  normalize: bool = False
  """Whether the hidden layers of stages 2 and 3 have layer normalisation. Needed to train from
  scratch; pretrained VGG-16 has none."""
  box_delta_stds: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
  """Units of stage 3's box deltas (x, y, log width, log height), as in Fast R-CNN's code
  (release)."""
  inclusive_corners: bool = False
  """Whether boxes after regression are corner pixels, both inclusive, as in the release: each grows
  by a pixel to the right and bottom, and RoI warping starts and ends at the corner pixels."""
  box_gradient: bool = True
  """Whether the losses of later stages train the boxes of earlier ones. False stops that gradient
  (the paper's ablation, table 1)."""
  box_gradient_clip: float = 0.0
  """Largest absolute gradient that the losses of later stages on one image may send into a box
  delta (release: 1/512). 0: not clipped. The gradient of a stage's own loss is never clipped."""
