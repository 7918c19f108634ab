"""What a pretrained backbone does to pixels before its first kernel."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.structs import Array

# Parameters of a backbone that belong to its weights and are never trained. Scale is not folded
# into the first kernel: that would then learn at another rate, by the scale squared.
PIXEL_PARAMETERS = ("pixel_mean", "pixel_scale")


def center_pixels(module: nn.Module, images: Array, *, config: ModelConfig,
                  scale: float = 1.0) -> jax.Array:
  """Returns (pixels - mean) * scale, blue first; call it in a compact method.

  Args:
    module: a Flax module, whose parameters `pixel_mean` and `pixel_scale` [3] become. They pass
      no gradient on.
    images: [B, H, W, 3] RGB from 0 to 255.
    config: the model; its mean is that of a fresh module.
    scale: of a fresh module.

  Returns:
    [B, H, W, 3] in `config.compute_dtype`.
  """
  first = (jnp.asarray(config.pixel_mean_bgr, jnp.float32), jnp.full(3, scale, jnp.float32))
  own = lambda name, value: module.param(name, lambda key: value)
  mean, factor = (jax.lax.stop_gradient(own(name, value)).reshape(1, 1, 1, 3)
                  for name, value in zip(PIXEL_PARAMETERS, first, strict=True))
  x = (images[..., ::-1].astype(jnp.float32) - mean) * factor
  return x.astype(jnp.dtype(config.compute_dtype))
