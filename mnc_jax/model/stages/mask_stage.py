"""Stage 2: class-agnostic masks inside given boxes (paper, section 3.2)."""

import math

from flax import linen as nn
import jax
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.model.flax_modules import Conv, apply_module, init_module
from mnc_jax.model.stages.initial_scale import feature_init
from mnc_jax.ops.boxes import as_float
from mnc_jax.structs import Array


class DenseMaskStage(nn.Module):
  """Two dense layers: dimension reduction, then per-pixel logistic regression (the paper's)."""

  config: ModelConfig

  @nn.compact
  def __call__(self, roi_features: Array) -> Array:
    """Maps [R, S, S, K] to mask logits [R, M, M]."""
    config, dtype = self.config, jnp.dtype(self.config.compute_dtype)
    # Without RoIs, -1 would be undefined.
    x = roi_features.reshape(roi_features.shape[0], math.prod(roi_features.shape[1:]))
    x = nn.Dense(config.mask_hidden, dtype=dtype, kernel_init=feature_init(config),
                 name="reduce")(x)
    if config.normalize:
      x = nn.LayerNorm(dtype=dtype, name="reduce_norm")(x)
    # In the dtype of its parameters: bfloat16 would round the logits to 8 bits.
    x = nn.Dense(config.mask_size**2, kernel_init=nn.initializers.normal(0.001),
                 name="mask")(nn.relu(x))
    return x.reshape(-1, config.mask_size, config.mask_size)


class ConvMaskStage(nn.Module):
  """3 x 3 convolutions, then each cell predicts its own (M / S)^2 pixels.

  The paper's dense layers rely on a pretrained backbone. From scratch they must learn the
  same edge separately at every position in the box; convolutions learn it once (He et al. 2017,
  "Mask R-CNN", section 3).
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, roi_features: Array) -> Array:
    """Maps [R, S, S, K] to mask logits [R, M, M], M a multiple of S."""
    config, dtype = self.config, jnp.dtype(self.config.compute_dtype)
    count, side = roi_features.shape[:2]
    step = config.mask_size // side
    x = roi_features
    for number in range(1, config.mask_convs + 1):
      init = nn.initializers.lecun_normal() if number > 1 else feature_init(config)
      layer = f"conv{number}"
      x = Conv(config.mask_hidden, (3, 3), dtype=dtype, kernel_init=init, name=layer)(x)
      if config.normalize:
        x = nn.LayerNorm(dtype=dtype, name=f"{layer}_norm")(x)
      x = nn.relu(x)
    # In the dtype of its parameters: bfloat16 would round the logits to 8 bits.
    x = nn.Dense(step**2, kernel_init=nn.initializers.normal(0.01), name="mask")(x)
    x = x.reshape(count, side, side, step, step).swapaxes(2, 3)
    return x.reshape(count, side * step, side * step)


def _module(config):
  if config.mask_head == "conv" and config.mask_size % config.roi_size:
    raise ValueError(f"model.mask_head 'conv' needs model.mask_size to be a multiple of "
                     f"model.roi_size, found {config.mask_size} and {config.roi_size}")
  return ConvMaskStage(config) if config.mask_head == "conv" else DenseMaskStage(config)


def init_mask_stage(key: jax.Array, config: ModelConfig, channels: int) -> dict:
  """Returns fresh parameters of stage 2 for features of K = `channels`.

  The dense mask layer is normal(.001), as in the release.
  """
  roi_features = jnp.zeros((1, config.roi_size, config.roi_size, channels))
  return init_module(_module(config), key, roi_features)


def predict_masks(params: dict, roi_features: Array, *, config: ModelConfig) -> jax.Array:
  """Predicts a class-agnostic mask inside each box.

  Args:
    params: from `init_mask_stage`.
    roi_features: [R, S, S, K] warped features, S = `config.roi_size`.
    config: the model.

  Returns:
    Mask logits [R, M, M] float32 on a regular grid inside each box. Rows are independent; those
    of empty boxes or padding are finite. Gradients flow into the features.

  Raises:
    ValueError: if `config.mask_head` is "conv" and M is not a multiple of S.
  """
  return as_float(apply_module(_module(config), params, roi_features))
