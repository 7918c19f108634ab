"""2-D convolution whose kernel gradient is fast on CPU too."""

from collections.abc import Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp

from mnc_jax.structs import Array

_LAYOUT = ("NHWC", "HWIO", "NHWC")
# XLA's CPU backend takes the gradient of a kernel as a convolution whose window is the whole map:
# slow from some size on. These bounds are where the products below begin to win, measured for 1 to
# 64 images of 7 x 7 to 150 x 150 cells with 64 to 512 channels (docs/performance.md).
_MIN_CELLS, _MIN_NUMBERS, _MIN_KERNEL = 190, 400_000, 128 * 128


def conv_general_dilated(inputs: Array, kernel: Array, window_strides: Sequence[int],
                         padding: Any, **options: Any) -> jax.Array:
  """Convolves like `jax.lax.conv_general_dilated`, for `nn.Conv(conv_general_dilated=...)`.

  Results and gradients are those of `jax.lax` but for rounding. On CPU the kernel gradient of
  large maps is one matrix product for each cell of the kernel, of the inputs that it reads and the
  output's gradient: 3 to 4 times as fast there. Elsewhere it is `jax.lax`'s own.

  Args:
    inputs: [B, H, W, K].
    kernel: [h, w, K, outputs].
    window_strides: two.
    padding: a string, or two pairs, as of `jax.lax.conv_general_dilated`.
    **options: of the same; with dilation, groups or another layout all is left to `jax.lax`.

  Returns:
    [B, H', W', outputs] in the dtype of `inputs`.

  Gradient:
    Flows into inputs and kernel. Of large maps by reverse mode only, on all platforms: `jax.jvp`
    of the convolution is an error there, `jax.jvp` of its gradient is not.
  """
  convolve = functools.partial(
      jax.lax.conv_general_dilated, window_strides=window_strides, padding=padding, **options)
  shapes = (inputs.shape, kernel.shape)
  if not _is_plain(*shapes, options) or not _is_large(*shapes):
    return convolve(inputs, kernel)
  pads = padding if not isinstance(padding, str) else jax.lax.padtype_to_pads(
      inputs.shape[1:3], kernel.shape[:2], window_strides, padding)
  by_products = functools.partial(
      _kernel_gradient, shape=kernel.shape, strides=tuple(window_strides), pads=pads)
  # The whole convolution depends on the platform, not its gradient alone: under `vmap`, a gradient
  # of our own would be taken image by image on accelerators, too.
  return jax.lax.platform_dependent(
      inputs, kernel, cpu=_with_kernel_gradient(convolve, by_products), default=convolve)


def _with_kernel_gradient(convolve, kernel_gradient):
  """Returns `convolve`, whose kernel gradient is `kernel_gradient(inputs, output's gradient)`."""
  def backward(residuals, gradient):
    inputs, kernel = residuals
    to_inputs, = jax.linear_transpose(lambda x: convolve(x, kernel), inputs)(gradient)
    return to_inputs, kernel_gradient(inputs, gradient)

  differentiated = jax.custom_vjp(convolve)
  differentiated.defvjp(lambda x, w: (convolve(x, w), (x, w)), backward)
  return differentiated


def _is_plain(inputs, kernel, options):
  """Returns whether arrays of these shapes have the layout above, without dilation or groups."""
  layout, ours = (jax.lax.conv_dimension_numbers(inputs, kernel, numbers)
                  for numbers in (options.get("dimension_numbers"), _LAYOUT))
  dilations = [*(options.get("lhs_dilation") or ()), *(options.get("rhs_dilation") or ())]
  groups = options.get("feature_group_count", 1) * options.get("batch_group_count", 1)
  return layout == ours and groups == 1 and set(dilations) <= {1}


def _is_large(inputs, kernel):
  """Returns whether the kernel gradient of maps and kernel of these shapes is by products."""
  batch, height, width, channels = inputs
  return (height * width >= _MIN_CELLS and batch * height * width * channels >= _MIN_NUMBERS
          and channels * kernel[-1] >= _MIN_KERNEL)


def _kernel_gradient(inputs, gradient, *, shape, strides, pads):
  """Returns the gradient [h, w, K, outputs] of the kernel; `gradient` is that of the output."""
  rows, columns = gradient.shape[1:3]
  padded = jnp.pad(inputs, ((0, 0), *pads, (0, 0)))
  right = gradient.reshape(-1, shape[-1])

  def product(i, j):
    read = padded[:, i:i + (rows - 1) * strides[0] + 1:strides[0],
                  j:j + (columns - 1) * strides[1] + 1:strides[1]]
    return jax.lax.dot_general(read.reshape(-1, shape[-2]), right, (((0,), (0,)), ((), ())),
                               preferred_element_type=jnp.promote_types(right.dtype, jnp.float32))

  cells = [product(i, j) for i in range(shape[0]) for j in range(shape[1])]
  return jnp.stack(cells).reshape(shape).astype(inputs.dtype)
