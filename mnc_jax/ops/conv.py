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
# The same for smaller kernels, whose products are by blocks of so many cells, which stay in the
# cache: of many cells in all, or of the RoIs of an image, which come with those of the others.
_MIN_CHANNELS, _MIN_ALL_CELLS, _MIN_ROIS, _MIN_ROI_CELLS = 16, 16_000, 32, 2048
_BLOCK = 512


def conv_general_dilated(inputs: Array, kernel: Array, window_strides: Sequence[int],
                         padding: Any, **options: Any) -> jax.Array:
  """Convolves like `jax.lax.conv_general_dilated`, for `nn.Conv(conv_general_dilated=...)`.

  Results and gradients are those of `jax.lax` but for rounding. On CPU the kernel gradient of
  large maps is one matrix product for each cell of the kernel, of the inputs that it reads and the
  output's gradient: 3 to 4 times as fast there. With few channels it is the sum of such products
  over blocks of the maps, twice as fast. Elsewhere it is `jax.lax`'s own.

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
  if jax.export.is_symbolic_dim(inputs.shape[0]):  # In exported programs, which have no gradient.
    return convolve(inputs, kernel)
  large, many = _is_large(*shapes), _is_many(*shapes)
  if not _is_plain(*shapes, options) or not (large or many):
    return convolve(inputs, kernel)
  pads = padding if not isinstance(padding, str) else jax.lax.padtype_to_pads(
      inputs.shape[1:3], kernel.shape[:2], window_strides, padding)
  by_products = functools.partial(
      _kernel_gradient if large else _kernel_gradient_by_blocks,
      shape=kernel.shape, strides=tuple(window_strides), pads=pads)
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


def _is_many(inputs, kernel):
  """Returns whether the kernel gradient of maps and kernel of these shapes is by blocks."""
  batch, height, width, channels = inputs
  cells = batch * height * width
  return (channels >= _MIN_CHANNELS and channels * kernel[-1] < _MIN_KERNEL and (
      cells >= _MIN_ALL_CELLS or batch >= _MIN_ROIS and cells >= _MIN_ROI_CELLS))


def _kernel_gradient(inputs, gradient, *, shape, strides, pads):
  """Returns the gradient [h, w, K, outputs] of the kernel; `gradient` is that of the output."""
  padded = jnp.pad(inputs, ((0, 0), *pads, (0, 0)))
  return _products(padded, gradient, shape, strides, in_turn=True).astype(inputs.dtype)


def _kernel_gradient_by_blocks(inputs, gradient, *, shape, strides, pads):
  """Like `_kernel_gradient`, summed over blocks of images, or of rows of an image."""
  # One image after the other under `vmap`: products with a batch are slow.
  @jax.custom_batching.sequential_vmap
  def by_blocks(padded, gradient):
    batch, rows, columns, outputs = gradient.shape
    images = _divisor(batch, _BLOCK // (rows * columns))
    rows_read = rows if images > 1 else _divisor(rows, _BLOCK // columns)

    def add_block(block, total):
      image, row = block // (rows // rows_read) * images, block % (rows // rows_read) * rows_read
      high = (rows_read - 1) * strides[0] + shape[0]
      read = jax.lax.dynamic_slice(
          padded, (image, row * strides[0], 0, 0), (images, high, *padded.shape[2:]))
      slopes = jax.lax.dynamic_slice(
          gradient, (image, row, 0, 0), (images, rows_read, columns, outputs))
      return total + _products(read, slopes, shape, strides)

    zero = jnp.zeros(shape, jnp.promote_types(gradient.dtype, jnp.float32))
    return jax.lax.fori_loop(0, (batch // images) * (rows // rows_read), add_block, zero)

  padded = jnp.pad(inputs, ((0, 0), *pads, (0, 0)))
  return by_blocks(padded, gradient).astype(inputs.dtype)


def _divisor(number, limit):
  """Returns the largest divisor of `number` that is not above `limit`, or 1."""
  return max(divisor for divisor in range(1, number + 1)
             if number % divisor == 0 and divisor <= max(limit, 1))


def _products(padded, gradient, shape, strides, *, in_turn=False):
  """Returns [h, w, K, outputs] in float32 at least, a product for each cell of the kernel.

  `in_turn`: in a loop, which is compiled once and copies what one cell reads at a time. Written
  out, the nine of conv3_2 of VGG-16 take 350 MB instead of 80.
  """
  rows, columns = gradient.shape[1:3]
  window = (len(padded), (rows - 1) * strides[0] + 1, (columns - 1) * strides[1] + 1, shape[2])
  right = gradient.reshape(-1, shape[-1])

  def product(start):
    read = jax.lax.dynamic_slice(padded, start, window)[:, ::strides[0], ::strides[1]]
    return jax.lax.dot_general(read.reshape(-1, shape[-2]), right, (((0,), (0,)), ((), ())),
                               preferred_element_type=jnp.promote_types(right.dtype, jnp.float32))

  starts = [(0, i, j, 0) for i in range(shape[0]) for j in range(shape[1])]
  cells = (jax.lax.map(product, jnp.array(starts, jnp.int32)) if in_turn
           else jnp.stack([product(start) for start in starts]))
  return cells.reshape(shape)
