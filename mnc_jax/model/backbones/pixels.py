"""Normalisation of pixels before the first layer of a pretrained backbone."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.structs import Array

# Parameters that come with the weights of a backbone and are never trained. The scale is not folded
# into the first kernel, whose learning rate would change by the square of the scale.
PIXEL_PARAMETERS = ("pixel_mean", "pixel_scale")


def center_pixels(module: nn.Module, images: Array, *, config: ModelConfig,
                  scale: float = 1.0) -> jax.Array:
  """Returns (pixels - mean) * scale, blue first; call it in a compact method.

  Args:
    module: gets the parameters `pixel_mean` and `pixel_scale` [3], without gradient.
    images: [B, H, W, 3] RGB from 0 to 255.
    config: the model; `config.pixel_mean_bgr` initialises the mean.
    scale: initial value.

  Returns:
    [B, H, W, 3] in `config.compute_dtype`.
  """
  initial = (jnp.asarray(config.pixel_mean_bgr, jnp.float32), jnp.full(3, scale, jnp.float32))
  parameter = lambda name, value: module.param(name, lambda key: value)
  mean, factor = (jax.lax.stop_gradient(parameter(name, value)).reshape(1, 1, 1, 3)
                  for name, value in zip(PIXEL_PARAMETERS, initial, strict=True))
  x = (images[..., ::-1].astype(jnp.float32) - mean) * factor
  return x.astype(jnp.dtype(config.compute_dtype))
