"""Operations that change only the gradient."""

import jax
import jax.numpy as jnp

from mnc_jax.structs import Array


@jax.custom_vjp
def clip_gradient(values: Array, limit: float | Array) -> Array:
  """Returns `values`; their gradient is clipped to [-limit, limit] per entry.

  The authors' proposal and bridge layers do this to box deltas, with 1 / 512: a bilinear
  sample has kinks, and a box on one can get a gradient far above all others.

  Args:
    values: array of any shape.
    limit: largest absolute gradient per entry; not differentiable itself.
  """
  del limit
  return values


def _forward(values, limit):
  return values, limit


def _backward(limit, gradient):
  return jnp.clip(gradient, -limit, limit), jnp.zeros_like(limit)


clip_gradient.defvjp(_forward, _backward)
