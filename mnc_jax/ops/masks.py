"""Masks on a regular grid inside a box: pasted into an image or another box, and their overlap.

Cell i of M has its centre at (i + .5) / M of the box's extent. Between centres a mask is
bilinear, from the outer centres to the box's edge it is constant, outside the box 0.
"""

import functools

import chex
import jax
import jax.numpy as jnp

from mnc_jax.ops.bilinear import (
  along,
  cell_centers,
  clamp_positions,
  clamped_kappa,
  neighbors,
  rounded,
)
from mnc_jax.ops.boxes import MIN_UNION, as_float, box_areas, smaller
from mnc_jax.structs import Array

# Masks of narrower boxes read as 0: dividing by their extent would overflow in the gradient.
MIN_EXTENT = 1e-6

# Products in full precision: TF32 or bfloat16 passes would blur coordinates.
_einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def paste_masks(masks: Array, boxes: Array, height: int, width: int) -> jax.Array:
  """Pastes each mask into an image of its own.

  Args:
    masks: [R, M, M] probabilities inside each box.
    boxes: [R, 4] pixels.
    height: rows of the image.
    width: columns of the image.

  Returns:
    [R, height, width] float32, the masks read at the pixel centres (j + .5, i + .5), 0 for
    pixels whose centre is outside the box.

  Degenerate input:
    Empty and inverted boxes give 0; parts outside the image are cropped.

  Gradient:
    Flows into masks and boxes, but not through the box's hard edge.

  Example:
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> mask, box = jnp.array([[[1.0, 0.5], [1.0, 0.5]]]), jnp.array([[1.0, 0.0, 3.0, 2.0]])
    >>> print(mnc_jax.paste_masks(mask, box, 2, 4)[0])
    [[0.  1.  0.5 0. ]
     [0.  1.  0.5 0. ]]
  """
  _check_masks(masks, boxes)
  boxes = as_float(boxes)
  rows = jnp.broadcast_to(jnp.arange(height) + 0.5, (boxes.shape[0], height))
  columns = jnp.broadcast_to(jnp.arange(width) + 0.5, (boxes.shape[0], width))
  return _read_masks(masks, boxes, rows.astype(boxes.dtype), columns.astype(boxes.dtype))


def resample_masks(masks: Array, from_boxes: Array, to_boxes: Array, size: int) -> jax.Array:
  """Reads masks of one box at the cell centres of another.

  Args:
    masks: [R, M, M] inside `from_boxes`.
    from_boxes: [R, 4] pixels. Empty or inverted ones give 0.
    to_boxes: [R, 4] pixels.
    size: cells per side of the result.

  Returns:
    [R, size, size] float32 inside `to_boxes`, 0 outside `from_boxes`. Gradients flow into
    masks and both boxes and are finite.
  """
  _check_masks(masks, from_boxes)
  chex.assert_equal_shape([from_boxes, to_boxes])
  to_boxes = as_float(to_boxes)
  rows = cell_centers(to_boxes[:, 1], to_boxes[:, 3], size)
  columns = cell_centers(to_boxes[:, 0], to_boxes[:, 2], size)
  return _read_masks(masks, as_float(from_boxes), rows, columns)


def read_binary_masks(masks: Array, index: Array, from_boxes: Array, to_boxes: Array,
                      size: int) -> jax.Array:
  """Reads `resample_masks(masks[index] != 0, from_boxes, to_boxes, size)`; not differentiable.

  On CPU only the four cells around each point are read, instead of the whole mask of each box.

  Args:
    masks: [G, M, M], of which what is not 0 is inside.
    index: [R] int, the mask of each box.
    from_boxes: [R, 4] pixels. Empty or inverted ones give 0.
    to_boxes: [R, 4] pixels.
    size: cells per side of the result.

  Returns:
    [R, size, size] float32 inside `to_boxes`, 0 outside `from_boxes`.
  """
  from_boxes, to_boxes = as_float(from_boxes), as_float(to_boxes)
  return jax.lax.platform_dependent(
      masks, index, from_boxes, to_boxes, cpu=functools.partial(_gather_binary, size=size),
      default=lambda masks, index, old, new: resample_masks(masks[index] != 0, old, new, size))


def _gather_binary(masks, index, from_boxes, to_boxes, size):
  fractions = (jnp.arange(size) + 0.5) / size
  columns, rows = (to_boxes[:, axis, None] + rounded(along(extents, fractions))
                   for axis, extents in enumerate((to_boxes[:, 2:] - to_boxes[:, :2]).T))
  y, y_weights = _point_neighbors(rows, from_boxes[:, 1], from_boxes[:, 3], masks.shape[1])
  x, x_weights = _point_neighbors(columns, from_boxes[:, 0], from_boxes[:, 2], masks.shape[2])
  total = jnp.zeros((), to_boxes.dtype)
  for i in range(2):
    for j in range(2):
      read = masks[index[:, None, None], y[:, :, None, i], x[:, None, :, j]] != 0
      total += jnp.where(read, y_weights[:, :, None, i] * x_weights[:, None, :, j], 0.0)
  return total


def resize_masks(masks: Array, size: int, *, method: str = "mean") -> jax.Array:
  """Resizes masks, as between stages 2 and 3.

  Cell i of the result covers [i, i + 1) * M / size of the cells along each axis.

    mean:     the mean of the mask over what the cell covers: each cell of the mask counts.
    bilinear: the mask at i * M / size, as in the authors' code: the top left cells coincide,
      half a cell off from the alignment used everywhere else, and few cells are read.
      Positions beyond the last cell's centre clamp to it (the authors' code gives 0 beyond half
      a cell more, which happens only when a mask is enlarged).

  Args:
    masks: [R, M, M].
    size: cells per side of the result.
    method: see above.

  Returns:
    [R, size, size] float32. With "mean" each mask keeps its mean.

  Raises:
    ValueError: for another `method`.
  """
  chex.assert_rank(masks, 3)
  if method not in _RESIZE_WEIGHTS:
    raise ValueError(f"method is {method!r}, must be one of {tuple(_RESIZE_WEIGHTS)}")
  masks = as_float(masks)
  rows, columns = (
      _RESIZE_WEIGHTS[method](size, cells).astype(masks.dtype) for cells in masks.shape[1:])
  return _einsum("ym,rmn,xn->ryx", rows, masks, columns)


def mask_iou_in_box(
    predicted: Array, target: Array, boxes: Array, target_areas: Array) -> jax.Array:
  """Returns the IoU of masks inside a box with objects that may reach outside it.

  inter = mean(p * t) * area(box); union = mean(p) * area(box) + area(object) - inter.

  Args:
    predicted: [R, S, S] bool or 0-1, a prediction inside each box; it is 0 outside.
    target: [R, S, S] bool or 0-1, the object inside the same box.
    boxes: [R, 4] pixels.
    target_areas: [R] pixels of the whole object, inside and outside the box.

  Returns:
    [R] in [0, 1], 0 where the union is empty. Gradients are finite everywhere.
  """
  chex.assert_equal_shape([predicted, target])
  chex.assert_shape(boxes, (predicted.shape[0], 4))
  chex.assert_shape(target_areas, (predicted.shape[0],))
  predicted, target, target_areas = as_float(predicted), as_float(target), as_float(target_areas)
  areas = box_areas(boxes)
  inter = jnp.mean(predicted * target, axis=(1, 2)) * areas
  union = jnp.mean(predicted, axis=(1, 2)) * areas + target_areas - inter
  found = union > MIN_UNION
  # Sampling error can put the part of an object inside the box above its whole area.
  return smaller(jnp.where(found, inter / jnp.where(found, union, 1.0), 0.0), 1.0)


def _mean_weights(size, cells):
  """Returns the share [size, cells] of each cell in the mean over [i, i + 1) * cells / size."""
  edges = jnp.arange(size + 1)[:, None] * (cells / size)
  starts = jnp.arange(cells)[None]
  covered = jnp.minimum(edges[1:], starts + 1) - jnp.maximum(edges[:-1], starts)
  return jnp.maximum(covered, 0.0) * (size / cells)


def _bilinear_weights(size, cells):
  return clamped_kappa(jnp.arange(size) * (cells / size), cells)


_RESIZE_WEIGHTS = {"mean": _mean_weights, "bilinear": _bilinear_weights}


def _check_masks(masks, boxes):
  chex.assert_rank([masks, boxes], [3, 2])
  chex.assert_shape(boxes, (masks.shape[0], 4))


def _read_masks(masks, boxes, rows, columns):
  """Reads masks [R, M, N] in boxes [R, 4] at pixel rows [R, Y] and columns [R, X]."""
  y = _point_weights(rows, boxes[:, 1], boxes[:, 3], masks.shape[1])
  x = _point_weights(columns, boxes[:, 0], boxes[:, 2], masks.shape[2])
  # In two steps, since einsum would begin with the product of the weights.
  return _einsum("ryn,rxn->ryx", _einsum("rym,rmn->ryn", y, as_float(masks)), x)


def _point_weights(points, low, high, cells):
  """Returns the weights [R, P, cells] of points [R, P] on the cells between low and high [R]."""
  distances, inside = _point_cells(points, low, high, cells)
  return jnp.where(inside[..., None], clamped_kappa(distances - 0.5, cells), 0.0)


def _point_neighbors(points, low, high, cells):
  """Returns the same as two indices and weights [R, P, 2]."""
  distances, inside = _point_cells(points, low, high, cells)
  indices, weights = neighbors(clamp_positions(rounded(distances) - 0.5, cells), cells)
  return indices, jnp.where(inside[..., None], weights, 0.0)


def _point_cells(points, low, high, cells):
  """Returns the distances [R, P] of points from `low` in cells, and which are below `high`."""
  found = (high - low > MIN_EXTENT)[:, None]
  low, high = low[:, None], high[:, None]
  inside = found & (points >= low) & (points < high)
  # Far points and empty extents are replaced before the division, not only after it.
  extent = jnp.where(found, high - low, 1.0)
  offset = jnp.where(inside, points - low, 0.0)
  return offset / extent * cells, inside
