"""Normalisation of pixels before the first layer of a backbone."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.ops.padding import clear_outside
from mnc_jax.structs import Array

# Rough centre and spread of 8-bit pixels.
PIXEL_CENTRE, PIXEL_SPREAD = 127.5, 64.0
# Parameters that come with the weights of a backbone and are never trained. The scale is not folded
# into the first kernel, whose learning rate would change by the square of the scale.
PIXEL_PARAMETERS = ("pixel_mean", "pixel_scale")


def scale_pixels(images: Array, image_sizes: Array, *, dtype: jnp.dtype) -> jax.Array:
  """Returns pixels [B, H, W, 3] from 0 to 255 as numbers of about -2 to 2, 0 outside the images."""
  pixels = (images.astype(jnp.float32) - PIXEL_CENTRE) / PIXEL_SPREAD
  return clear_outside(pixels.astype(dtype), image_sizes, 1)


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
