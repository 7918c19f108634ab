"""ResNets: bottleneck blocks for the shared features (C4) and for the RoI heads (conv5_x).

He et al. 2016, "Deep Residual Learning for Image Recognition", table 1, with the stride in the
3 x 3 convolution of a block, as the published weights of torchvision and timm have it.
"""

import functools
import math

from flax import linen as nn
import jax
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.model.backbones.backbone import Backbone
from mnc_jax.model.backbones.pixels import PIXEL_SPREAD, center_pixels
from mnc_jax.model.backbones.top_down import TopDown
from mnc_jax.model.flax_modules import Conv
from mnc_jax.ops.boxes import as_float
from mnc_jax.ops.padding import cells_inside, clear_outside
from mnc_jax.structs import Array

# Blocks of conv2_x ... conv5_x, which torchvision calls layer1 ... layer4.
DEPTHS = {"resnet26": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
# Output channels of a block per channel of its 3 x 3 convolution.
EXPANSION = 4
FROZEN_NORMS = frozenset(("bn1", "bn2", "bn3", "bn_down"))
"""Names of the modules whose parameters are never trained, anywhere in the model."""


def make_resnet(config: ModelConfig) -> Backbone:
  """Returns a ResNet up to conv4_x, stride 16, or to the map of `config.pyramid_stride`."""
  norm = "bn1" if config.backbone_norm == "frozen_batch" else "gn1"
  blocks = (("conv1", norm), *(layer_names(config, number) for number in range(1, 4)))
  channels = (config.pyramid_width if config.pyramid_stride
              else 4 * EXPANSION * config.resnet_width)
  return Backbone(ResNetC4(config), channels, stride=config.pyramid_stride or 16, multiple=16,
                  blocks=blocks)


class FrozenBatchNorm(nn.Module):
  """Batch normalisation by the statistics of pretraining: x * scale + bias.

  scale = gamma / sqrt(variance + 1e-5) and bias = beta - mean * scale are folded when weights
  are read. They get no gradient (He et al. 2016, appendix A): the batches of a detector are too
  small for statistics of their own.
  """

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [..., K] to the same shape and dtype."""
    shape = x.shape[-1:]
    scale = self.param("scale", nn.initializers.ones, shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    scale, bias = (jax.lax.stop_gradient(part).reshape((1,) * (x.ndim - 1) + shape)
                   for part in (scale, bias))
    # In float32: the bias may be several times the output, and its rounding would be a constant
    # error of the channel.
    return (as_float(x) * scale + bias).astype(x.dtype)


def count_groups(channels: int) -> int:
  """Returns the number of groups of a group normalisation.

  32 (Wu and He 2018, "Group Normalization", section 4), and for thin layers groups of up to 16
  channels: normalised by itself, one channel would lose its scale.
  """
  if channels >= 64 and channels % 32 == 0:
    return 32
  return channels // math.gcd(channels, 16)


def conv_norm(x: Array, image_sizes: Array | None, *, config: ModelConfig, channels: int,
              kernel: int, stride: int, pixels: int, suffix: str, last: bool = False) -> jax.Array:
  """Applies a convolution without bias and its normalisation; call it in a compact method.

  Padding is torchvision's, kernel // 2 on all sides: with stride 2 the true centre of a cell is
  half a cell less half a pixel above and left of the geometry's, ((j + .5)s, (i + .5)s).
  It is kept because the pretrained weights were trained with it; the heads learn the offset, which
  is the same everywhere.

  Args:
    x: [N, h, w, K], zero outside the images.
    image_sizes: [N, 2] int32 (height, width) in pixels of the network input; None if all cells
      are inside, as those of a RoI.
    config: the model.
    channels: of the result.
    kernel: side of the kernel.
    stride: cells of `x` per cell of the result.
    pixels: of the network input per cell of the result.
    suffix: of the layers' names, "1", "2", "3" or "_down".
    last: at the end of a block. A group normalisation starts with scale 0 there, so that a
      fresh network is shallow (Goyal et al. 2017, section 5.1).

  Returns:
    [N, ceil(h / stride), ceil(w / stride), channels] in the dtype of `x`, zero in cells that
    are not wholly inside their image. Statistics of a group normalisation are taken over the cells
    inside only; an image of size (0, 0) gives zeros and finite gradients.
  """
  x = Conv(channels, (kernel, kernel), strides=(stride, stride), padding=kernel // 2,
              use_bias=False, dtype=x.dtype, kernel_init=nn.initializers.he_normal(),
              name=f"conv{suffix}")(x)
  inside = _inside(x, image_sizes, pixels)
  if config.backbone_norm == "frozen_batch":
    x = FrozenBatchNorm(name=f"bn{suffix}")(x)
  else:
    # The mean of no cells is NaN. Without an image use all cells, which are zero.
    counted = inside | ~inside.any((1, 2, 3), keepdims=True)
    x = nn.GroupNorm(count_groups(channels), epsilon=1e-5, dtype=x.dtype, name=f"gn{suffix}",
                     scale_init=nn.initializers.zeros if last else nn.initializers.ones)(
                         x, mask=jnp.broadcast_to(counted, x.shape))
  return jnp.where(inside, x, jnp.zeros_like(x))


def _inside(x, image_sizes, pixels):
  """Returns [N or 1, h, w, 1] bool."""
  height, width = x.shape[1:3]
  if image_sizes is None:
    return jnp.ones((1, height, width, 1), bool)
  return cells_inside(image_sizes, pixels, height, width)[..., None]


class Bottleneck(nn.Module):
  """1 x 1 down, 3 x 3, 1 x 1 up, added to the input or to its projection."""

  config: ModelConfig
  channels: int
  stride: int

  @nn.compact
  def __call__(self, x: Array, image_sizes: Array | None, pixels: int) -> Array:
    """Maps [N, h, w, K] to [N, ceil(h / stride), ..., channels * 4]; `pixels` per cell of `x`."""
    outputs, after = self.channels * EXPANSION, pixels * self.stride
    conv = functools.partial(conv_norm, image_sizes=image_sizes, config=self.config)
    y = conv(x, channels=self.channels, kernel=1, stride=1, pixels=pixels, suffix="1")
    y = conv(nn.relu(y), channels=self.channels, kernel=3, stride=self.stride, pixels=after,
             suffix="2")
    y = conv(nn.relu(y), channels=outputs, kernel=1, stride=1, pixels=after, suffix="3", last=True)
    if self.stride > 1 or x.shape[-1] != outputs:
      x = conv(x, channels=outputs, kernel=1, stride=self.stride, pixels=after, suffix="_down")
    return nn.relu(x + y)


def residual_layer(x: Array, image_sizes: Array | None, *, config: ModelConfig, number: int,
                   pixels: int) -> Array:
  """Applies layer1, 2, 3 or 4 (conv2_x ... conv5_x); call it in a compact method.

  Args:
    x: [N, h, w, K], zero outside the images.
    image_sizes: [N, 2] int32 (height, width) in pixels; None if all cells are inside.
    config: the model, its backbone a ResNet.
    number: 1 ... 4. All but the first halve the map.
    pixels: of the network input per cell of `x`; unused if `image_sizes` is None.

  Returns:
    [N, ceil(h / s), ceil(w / s), 4 * 2^(number - 1) * `config.resnet_width`], s = 1 or 2, in
    the dtype of `x`.
  """
  stride = 1 if number == 1 else 2
  for name in layer_names(config, number):
    x = Bottleneck(config, config.resnet_width * 2 ** (number - 1), stride, name=name)(
        x, image_sizes, pixels)
    pixels, stride = pixels * stride, 1
  return x


class ResNetC4(nn.Module):
  """A ResNet up to conv4_x (C4) at stride 16; 16 times `config.resnet_width` channels.

  It reads blue, green, red from 0 to 255 through `center_pixels`.
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, images: Array, image_sizes: Array) -> Array:
    """Maps [B, H, W, 3] uint8 RGB to [B, H // 16, W // 16, K], zero outside the images.

    With `pyramid_stride` s the result is [B, H // s, W // s, `pyramid_width`].
    """
    config, (height, width) = self.config, images.shape[1:3]
    # From scratch, numbers of order one; pretrained kernels expect their own scale.
    scale = 1 / PIXEL_SPREAD if config.backbone_norm == "group" else 1.0
    x = clear_outside(center_pixels(self, images, config=config, scale=scale), image_sizes, 1)
    x = nn.relu(conv_norm(x, image_sizes, config=config, channels=config.resnet_width, kernel=7,
                          stride=2, pixels=2, suffix="1"))
    # Nothing is below zero here, so the zeros outside an image never exceed a cell inside.
    # Flax has no annotations of `padding`.
    x = nn.max_pool(x, (3, 3), strides=(2, 2),
                    padding=((1, 1), (1, 1)))  # pyright: ignore[reportArgumentType]
    x = clear_outside(x, image_sizes, 4)
    if config.frozen_blocks:
      x = jax.lax.stop_gradient(x)
    maps = {}
    for number, pixels in ((1, 4), (2, 4), (3, 8)):
      x = residual_layer(x, image_sizes, config=config, number=number, pixels=pixels)
      if number < config.frozen_blocks:  # Block 1 is conv1. Each of them: a pyramid reads them.
        x = jax.lax.stop_gradient(x)
      stride = 2 ** (number + 1)
      # If a side is not a multiple of it, torchvision's padding leaves a last, incomplete cell.
      maps[stride] = x[:, :height // stride, :width // stride]
    if not config.pyramid_stride:
      return maps[16]
    return TopDown(config, name="top_down")(maps, image_sizes)


def layer_names(config: ModelConfig, number: int) -> tuple[str, ...]:
  """Returns the names of the blocks of layer `number`, 1 ... 4: "layer1_0", ..."""
  return tuple(f"layer{number}_{index}" for index in range(DEPTHS[config.backbone][number - 1]))
