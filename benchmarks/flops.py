"""Floating-point operations of the cascade, counted from its shapes.

Counted, a multiplication and an addition as two: convolutions (zero padding included), dense
layers, and RoI warping as four multiply-adds a sample and channel, whatever method computes it.
Not counted: activations, pooling, biases, resizing of masks, anchors, NMS, targets,
losses, voting, the optimiser, and whatever a backward pass computes a second time.

A layer's backward pass costs its forward once for the weights and once for its input. Frozen
layers have none, and the first layer above them needs no gradient of its input.
"""

from mnc_jax.config import Config, ModelConfig

# Channels and 3 x 3 convolutions of each VGG-16 block (Simonyan & Zisserman 2015, D).
_VGG16_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_CHANNELS = 512


def conv_flops(height: int, width: int, inputs: int, outputs: int, *, kernel: int) -> int:
  """Counts a convolution with height x width outputs."""
  return 2 * height * width * kernel**2 * inputs * outputs


def dense_flops(rows: int, inputs: int, outputs: int) -> int:
  """Counts a dense layer on `rows` vectors."""
  return 2 * rows * inputs * outputs


def backbone_layers(height: int, width: int) -> list[tuple[int, int]]:
  """Returns (block, forward operations) of VGG-16's layers on one image, in order."""
  layers, inputs = [], 3
  for block, (outputs, depth) in enumerate(_VGG16_BLOCKS, start=1):
    if block > 1:
      height, width = height // 2, width // 2
    for _ in range(depth):
      layers.append((block, conv_flops(height, width, inputs, outputs, kernel=3)))
      inputs = outputs
  return layers


def backbone_backward(layers, frozen_blocks: int) -> int:
  """Counts the gradient of `backbone_layers` above the frozen blocks."""
  trained = [flops for block, flops in layers if block > frozen_blocks]
  return 2 * sum(trained) - sum(trained[:1])


def box_stage_flops(height: int, width: int, config: ModelConfig) -> int:
  """Counts stage 1 on features of height x width cells."""
  anchors = len(config.anchor_scales) * len(config.anchor_ratios)
  hidden = config.box_stage_width
  return (conv_flops(height, width, _CHANNELS, hidden, kernel=3)
          + conv_flops(height, width, hidden, anchors * 6, kernel=1))


def warp_flops(rois: int, config: ModelConfig) -> int:
  """Counts the warp of RoIs to size * pool samples a side."""
  samples = rois * (config.roi_size * config.roi_pool) ** 2
  return 2 * 4 * samples * _CHANNELS


def mask_stage_flops(rois: int, config: ModelConfig) -> int:
  """Counts stage 2 (or 4), of the paper's dense layers or of convolutions."""
  if config.mask_head == "conv":
    side, hidden = config.roi_size, config.mask_hidden
    return rois * (conv_flops(side, side, _CHANNELS, hidden, kernel=3)
                   + conv_flops(side, side, hidden, hidden, kernel=3)
                   + conv_flops(side, side, hidden, (config.mask_size // side) ** 2, kernel=1))
  return (dense_flops(rois, config.roi_size**2 * _CHANNELS, config.mask_hidden)
          + dense_flops(rois, config.mask_hidden, config.mask_size**2))


def category_stage_flops(rois: int, config: ModelConfig) -> int:
  """Counts stage 3 (or 5): two paths, two classifiers, class-wise boxes."""
  width = config.dense_width
  path = (dense_flops(rois, (config.roi_size // 2) ** 2 * _CHANNELS, width)
          + dense_flops(rois, width, width))
  return 2 * path + dense_flops(rois, 2 * width, 6 * config.num_categories)


def inference_flops(height: int, width: int, config: Config) -> dict[str, int]:
  """Counts `predict` on one image of height x width pixels, by part."""
  return _forward(height, width, 2 * config.inference.proposals.num_proposals, config.model)


def training_flops(height: int, width: int, config: Config) -> dict[str, int]:
  """Counts one image of a training step, forward and backward, by part."""
  model = config.model
  passes = 2 if config.train.num_stages == 5 else 1
  forward = _forward(height, width, passes * config.train.rois_per_image, model)
  # The warp has the features and, if they are not stopped, the boxes to pass a gradient to.
  total = {name: 3 * flops for name, flops in forward.items()}
  total["roi_warp"] = (3 if model.box_gradient else 2) * forward["roi_warp"]
  total["features"] = forward["features"] + backbone_backward(
      backbone_layers(height, width), model.frozen_blocks)
  return total


def _forward(height, width, rois, model):
  if model.backbone != "vgg16":
    raise ValueError(f"only the operations of VGG-16 are counted, found {model.backbone!r}")
  return {
      "features": sum(flops for _, flops in backbone_layers(height, width)),
      "box_stage": box_stage_flops(height // 16, width // 16, model),
      "roi_warp": warp_flops(rois, model),
      "mask_stage": mask_stage_flops(rois, model),
      "category_stage": category_stage_flops(rois, model),
  }
