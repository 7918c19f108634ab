"""Stage 2: class-agnostic masks inside given boxes (paper, section 3.2)."""

from flax import linen as nn
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.ops.boxes import as_float


class MaskStage(nn.Module):
  """Two dense layers: dimension reduction, then per-pixel logistic regression."""

  config: ModelConfig

  @nn.compact
  def __call__(self, roi_features):
    """Maps [R, S, S, K] to mask logits [R, M, M]."""
    config, dtype = self.config, jnp.dtype(self.config.compute_dtype)
    x = roi_features.reshape(roi_features.shape[0], -1)
    x = nn.Dense(config.mask_hidden, dtype=dtype, name="reduce")(x)
    if config.normalize:
      x = nn.LayerNorm(dtype=dtype, name="reduce_norm")(x)
    x = nn.Dense(config.mask_size**2, dtype=dtype, kernel_init=nn.initializers.normal(0.001),
                 name="mask")(nn.relu(x))
    return x.reshape(-1, config.mask_size, config.mask_size)


def init_mask_stage(key, config: ModelConfig, channels: int):
  """Returns freshly initialised parameters of stage 2 (mask layer normal(.001), as the release)."""
  roi_features = jnp.zeros((1, config.roi_size, config.roi_size, channels))
  return MaskStage(config).init(key, roi_features)["params"]


def predict_masks(params, roi_features, *, config: ModelConfig):
  """Predicts the mask of whatever object fills each box.

  Args:
    params: from `init_mask_stage`.
    roi_features: [R, S, S, K] warped features, S = `config.roi_size`.
    config: the model.

  Returns:
    Mask logits [R, M, M] float32 on a regular grid inside each box. Differentiable in
    the features, and through the warp that made them in the box coordinates.
  """
  return as_float(MaskStage(config).apply({"params": params}, roi_features))
