"""Boxes `[x1, y1, x2, y2]` in continuous pixels: overlap, regression deltas, clipping."""

from collections.abc import Sequence
import math

import chex
import jax
import jax.numpy as jnp

from mnc_jax.structs import Array

MAX_LOG_SCALE = math.log(1000.0 / 16.0)
"""Largest dw, dh: a 16-pixel anchor may grow to 1000 pixels, and exp stays finite."""

MIN_UNION = 1e-18
"""Below this union, 1 / union**2 in the gradient of an IoU would overflow float32. It is the
square of a billionth of a pixel: no overlap of real boxes is lost."""
# Narrower boxes count as boxes without extent, which nothing is divided by.
_MIN_EXTENT = 1e-6


def as_float(values: Array) -> jax.Array:
  """Returns `values` in float32, or unchanged if float64: geometry never runs in less."""
  values = jnp.asarray(values)
  return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def as_floats(*values: Array) -> tuple[jax.Array, ...]:
  """Returns `as_float` of each value, all in the widest of their dtypes."""
  floats = [as_float(x) for x in values]
  return tuple(x.astype(jnp.result_type(*floats)) for x in floats)


def larger(a: Array | float, b: Array | float) -> jax.Array:
  """Returns the larger of `a` and `b`; where they are equal, `a` takes the gradient.

  Not jnp.maximum: its gradient compares the operands with the result. XLA may recompute an
  operand for this comparison, with other rounding, and the gradient is lost (a box gradient
  was off by a tenth under jit). The same applies to jnp.minimum, clip and max.
  """
  return jnp.where(b > a, b, a)


def smaller(a: Array | float, b: Array | float) -> jax.Array:
  """Returns the smaller of `a` and `b`; where they are equal, `a` takes the gradient."""
  return jnp.where(b < a, b, a)


def box_areas(boxes: Array) -> jax.Array:
  """Returns the areas of boxes [..., 4] as [...], 0 for empty and inverted ones."""
  boxes = as_float(boxes)
  return _areas_between(boxes[..., :2], boxes[..., 2:])


def _areas_between(low, high):
  """Returns [...], the areas between corners (x, y) [..., 2]; 0 if a side is negative."""
  sides = larger(0.0, high - low)
  return sides[..., 0] * sides[..., 1]


def box_iou(boxes_a: Array, boxes_b: Array) -> jax.Array:
  """Returns the intersection over union of every pair of boxes.

  Args:
    boxes_a: [N, 4] pixels.
    boxes_b: [M, 4] pixels.

  Returns:
    [N, M] in [0, 1], float32 or wider. There is no epsilon in the denominator: a box of any
    size has IoU 1 with itself.

  Degenerate input:
    Empty or inverted boxes have IoU 0 with everything, themselves included.

  Gradient:
    Flows into both; finite everywhere, 0 for pairs that do not overlap.

  Example:
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> boxes = jnp.array([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 2.0], [9.0, 9.0, 9.0, 9.0]])
    >>> print(mnc_jax.box_iou(boxes[:1], boxes))
    [[1.  0.5 0. ]]
  """
  chex.assert_rank([boxes_a, boxes_b], 2)
  chex.assert_axis_dimension(boxes_a, 1, 4)
  chex.assert_axis_dimension(boxes_b, 1, 4)
  a, b = as_float(boxes_a)[:, None], as_float(boxes_b)[None]
  low = larger(a[..., :2], b[..., :2])
  high = smaller(a[..., 2:], b[..., 2:])
  inter = _areas_between(low, high)
  area_a, area_b = box_areas(a), box_areas(b)
  # Two inverted boxes can still have an intersection; it must not count.
  inter = jnp.where((area_a > 0) & (area_b > 0), inter, 0.0)
  union = area_a + area_b - inter
  found = union > MIN_UNION
  # The operand is guarded before the division, else the unused branch has a NaN gradient.
  return jnp.where(found, inter / jnp.where(found, union, 1.0), 0.0)


def encode_boxes(boxes: Array, anchors: Array, *,
                 stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> jax.Array:
  """Returns the deltas from anchors to boxes (Girshick et al. 2014, appendix C).

  dx = (x - x_a) / w_a, dw = log(w / w_a), and the same for dy and dh; each divided by its std.

  Args:
    boxes: [..., 4] pixels.
    anchors: [..., 4] pixels, the same shape.
    stds: four numbers that the deltas are divided by.

  Returns:
    [..., 4] (dx, dy, dw, dh), float32 or wider.

  Degenerate input:
    Finite: an anchor without extent along an axis counts as one pixel wide there, and if
    box or anchor has none, the log is 0.

  Gradient:
    Flows into boxes and anchors, except through a log that is 0 because an extent is missing.

  Example:
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> anchor, box = jnp.array([0.0, 0.0, 4.0, 4.0]), jnp.array([2.0, 0.0, 6.0, 4.0])
    >>> print(mnc_jax.encode_boxes(box, anchor, stds=(0.1, 0.1, 0.2, 0.2)))
    [5. 0. 0. 0.]
  """
  chex.assert_equal_shape([boxes, anchors])
  chex.assert_axis_dimension(boxes, -1, 4)
  centers, sizes = _centers_and_sizes(as_float(boxes))
  anchor_centers, anchor_sizes = _centers_and_sizes(as_float(anchors))
  anchor_found, found = anchor_sizes > _MIN_EXTENT, sizes > _MIN_EXTENT
  anchor_sizes = jnp.where(anchor_found, anchor_sizes, 1.0)
  shifts = (centers - anchor_centers) / anchor_sizes
  ratios = jnp.where(found, sizes, 1.0) / anchor_sizes
  logs = jnp.where(found & anchor_found, jnp.log(ratios), 0.0)
  deltas = jnp.concatenate([shifts, logs], axis=-1)
  return deltas / _per_coordinate(stds, deltas)


def decode_boxes(deltas: Array, anchors: Array, *,
                 stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> jax.Array:
  """Applies deltas to anchors, the inverse of `encode_boxes`.

  Args:
    deltas: [..., 4] (dx, dy, dw, dh).
    anchors: [..., 4] pixels, the same shape.
    stds: four numbers that the deltas are multiplied by.

  Returns:
    [..., 4] pixels, float32 or wider. dw and dh are clamped at `MAX_LOG_SCALE`.

  Degenerate input:
    A zero-width anchor gives a zero-width box at its position.

  Gradient:
    Flows into deltas and anchors, finite; 0 for a dw or dh beyond the clamp.

  Example:
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> anchor, deltas = jnp.array([0.0, 0.0, 4.0, 4.0]), jnp.array([0.5, 0.0, 0.0, 0.0])
    >>> print(mnc_jax.decode_boxes(deltas, anchor))
    [2. 0. 6. 4.]
  """
  chex.assert_equal_shape([deltas, anchors])
  chex.assert_axis_dimension(deltas, -1, 4)
  deltas = as_float(deltas)
  deltas = deltas * _per_coordinate(stds, deltas)
  anchor_centers, anchor_sizes = _centers_and_sizes(as_float(anchors))
  centers = anchor_centers + deltas[..., :2] * anchor_sizes
  half_sizes = 0.5 * anchor_sizes * jnp.exp(smaller(deltas[..., 2:], MAX_LOG_SCALE))
  return jnp.concatenate([centers - half_sizes, centers + half_sizes], axis=-1)


def clip_boxes(boxes: Array, height: int | Array, width: int | Array) -> jax.Array:
  """Clips boxes to an image.

  Args:
    boxes: [..., 4] pixels.
    height: pixels of the image, may be traced.
    width: pixels of the image, may be traced.

  Returns:
    [..., 4] pixels, float32 or wider, 0 <= x <= width and 0 <= y <= height.

  Degenerate input:
    A box wholly outside becomes empty; an inverted one stays inverted or becomes empty.

  Gradient:
    0 for a coordinate beyond the edge; a coordinate on the edge passes it.

  Example:
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> boxes = jnp.array([[-2.0, 1.0, 9.0, 3.0], [8.5, 0.0, 9.0, 3.0]])
    >>> print(mnc_jax.clip_boxes(boxes, 4, 8))
    [[0. 1. 8. 3.]
     [8. 0. 8. 3.]]
  """
  chex.assert_axis_dimension(boxes, -1, 4)
  boxes = as_float(boxes)
  sides = _per_coordinate((width, height, width, height), boxes)
  return smaller(larger(boxes, 0.0), sides)


def clip_corners(boxes: Array, height: int | Array, width: int | Array) -> jax.Array:
  """Clips boxes [..., 4] to an image and reads them as inclusive corners.

  The release writes a regressed box as x2 = centre + w / 2, clips it to the last pixels,
  width - 1 and height - 1, and reads the result inclusively, as x2 - x1 + 1 pixels. So a
  box grows by a pixel to the right and below. Gradients are those of `clip_boxes`.
  """
  clipped = clip_boxes(boxes, height - 1, width - 1)
  return clipped + _far_corner(clipped)


def corner_pixels(boxes: Array) -> jax.Array:
  """Returns boxes [..., 4] as inclusive corners: their first and last pixels."""
  boxes = as_float(boxes)
  return boxes - _far_corner(boxes)


def _far_corner(boxes):
  return _per_coordinate((0.0, 0.0, 1.0, 1.0), boxes)


def _per_coordinate(values, boxes):
  """Returns four numbers as [..., 4] to be broadcast against boxes or deltas, in their dtype."""
  # One array, not four columns: their gradients would be four paddings and a sum.
  return jnp.asarray(values, boxes.dtype).reshape((1,) * (boxes.ndim - 1) + (4,))


def _centers_and_sizes(boxes):
  return 0.5 * (boxes[..., :2] + boxes[..., 2:]), boxes[..., 2:] - boxes[..., :2]
