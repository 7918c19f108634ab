"""Stage 3: the category of each masked box, and its refinement (paper, sections 3.3, 3.4)."""

import math

from flax import linen as nn
import jax
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.model.backbones.resnet import DEPTHS, residual_layer
from mnc_jax.model.flax_modules import apply_module, init_module
from mnc_jax.model.stages.initial_scale import feature_init
from mnc_jax.ops.boxes import as_float
from mnc_jax.ops.masks import resize_masks
from mnc_jax.ops.max_pool import max_pool
from mnc_jax.structs import Array


class CategoryStage(nn.Module):
  """A mask path and a box path, joined before the classifiers.

  Each is two dense layers, or with a ResNet's conv4_x a conv5_x of its own (He et al. 2016,
  appendix A).
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, masked_features: Array, roi_features: Array
               ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Maps two [R, S, S, K] to category logits [R, C], box-level ones, deltas [R, C * 4]."""
    config = self.config
    joined = jnp.concatenate(
        [self._path(masked_features, "_mask"), self._path(roi_features, "")], axis=-1)
    def classify(outputs, std, name):
      init = nn.initializers.normal(std)
      # In the dtype of its parameters: bfloat16 would round logits and deltas to 8 bits.
      return nn.Dense(outputs, kernel_init=init, name=name)(joined)
    categories = config.num_categories
    return (classify(categories, 0.01, "category"),
            classify(categories, 0.01, "box_category"),
            classify(categories * 4, 0.001, "box_deltas"))

  def _path(self, x, suffix):
    if self.config.backbone in DEPTHS and not self.config.pyramid_stride:
      return Conv5(self.config, name=f"conv5{suffix}")(x)
    dtype = jnp.dtype(self.config.compute_dtype)
    x = max_pool(x)
    x = x.reshape(x.shape[0], math.prod(x.shape[1:]))  # Without RoIs, -1 would be undefined.
    inits = {"fc6": feature_init(self.config), "fc7": nn.initializers.lecun_normal()}
    for layer, init in inits.items():
      x = nn.Dense(self.config.dense_width, dtype=dtype, kernel_init=init, name=layer + suffix)(x)
      if self.config.normalize:
        x = nn.LayerNorm(dtype=dtype, name=f"{layer}{suffix}_norm")(x)
      x = nn.relu(x)
    return x


class Conv5(nn.Module):
  """conv5_x of a ResNet on the features of each RoI: 14 x 14 cells, then 7 x 7, then their mean."""

  config: ModelConfig

  @nn.compact
  def __call__(self, roi_features: Array) -> Array:
    """Maps [R, S, S, K] to [R, 32 * `config.resnet_width`]; rows are independent."""
    x = roi_features.astype(jnp.dtype(self.config.compute_dtype))
    x = residual_layer(x, None, config=self.config, number=4, pixels=1)
    return x.mean(axis=(1, 2))


def init_category_stage(key: jax.Array, config: ModelConfig, channels: int) -> dict:
  """Returns fresh parameters of stage 3 for features of K = `channels`."""
  roi_features = jnp.zeros((1, config.roi_size, config.roi_size, channels))
  return init_module(CategoryStage(config), key, roi_features, roi_features)


def predict_categories(params: dict, roi_features: Array, mask_logits: Array, *,
                       config: ModelConfig) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Classifies each RoI and its masked features, F_mask = F_roi * M (paper, equation 5).

  Args:
    params: from `init_category_stage`.
    roi_features: [R, S, S, K] warped features.
    mask_logits: [R, M, M] of stage 2.
    config: the model.

  Returns:
    `(category_logits [R, C], box_category_logits [R, C], box_deltas [R, C, 4])`, float32.
    Rows are independent; those of empty boxes or padding are finite. Gradients flow into the
    features and, through the product, into the masks.
  """
  masks = resize_masks(
      jax.nn.sigmoid(mask_logits), config.roi_size, method=config.mask_resize)
  masked_features = roi_features * masks[..., None].astype(roi_features.dtype)
  outputs = apply_module(CategoryStage(config), params, masked_features, roi_features)
  categories, box_categories, deltas = (as_float(x) for x in outputs)
  return categories, box_categories, deltas.reshape(-1, config.num_categories, 4)
