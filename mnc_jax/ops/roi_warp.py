"""RoI warping: fixed-size features of boxes, differentiable in features and boxes.

F_roi = G(B) F with separable bilinear G (paper, section 3.2, equations 4 to 7).
"""

import functools

import chex
import jax
import jax.numpy as jnp

from mnc_jax.ops.bilinear import along, clamp_positions, kappa, neighbors, rounded
from mnc_jax.ops.boxes import as_float, larger
from mnc_jax.ops.max_pool import WINNERS, max_of_tiles
from mnc_jax.structs import Array

_GRIDS = ("center", "edge", "caffe")
_METHODS = ("gather", "matmul")
_BORDERS = ("zero", "clamp")


def roi_warp(features: Array, boxes: Array, *, size: int, stride: int, grid: str = "center",
             method: str = "gather", border: str = "zero", cells: Array | None = None
             ) -> jax.Array:
  """Samples size x size features in each box.

  Sampling positions along x, in feature cells, u = 0 ... size - 1 (and the same along y):

    center: (x1 + (u + .5) / size * (x2 - x1)) / stride - .5, aligned, not rounded.
    edge:   (x1 + u / size * (x2 - x1)) / stride, the paper's formula.
    caffe:  r(x1 / stride) + u / size * max(r(x2 / stride) - r(x1 / stride), 0), the
      authors' code; r rounds half away from zero, with a straight-through gradient.

  With `caffe` samples outside [-.5, n - .5] are 0 and those inside clamp to the border cell; n
  counts the image's cells. With the other grids `border` decides:

    zero:  the map is 0 outside; a sample beyond the centre of a border cell fades.
    clamp: a sample beyond it reads the border cell, as in RoIAlign.

  Args:
    features: [H, W, K], any float dtype.
    boxes: [R, 4] pixels. Positions, weights and products are float32 at least.
    size: samples per side.
    stride: pixels per feature cell.
    grid: where to sample, see above.
    method: "gather" reads the four neighbours of each sample; "matmul" multiplies by two
      dense weight matrices, for accelerators where gathers are slow. Same numbers.
    border: what samples beyond the map read, see above.
    cells: [2] int (rows, columns) of the map that belong to the image, may be traced; the
      map must be 0 in the others. None: all do.

  Returns:
    [R, size, size, K] in the dtype of `features`.

  Degenerate input:
    Empty and inverted boxes give finite values and gradients.

  Gradient:
    Flows into features and boxes; exact, except for `caffe`, where it is that of the
    rounded box. A clamped sample does not move with its box.

  Raises:
    TypeError: for features of integers or bools, whose samples would be truncated.
    ValueError: for another `grid`, `method` or `border`.

  Example:
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> ramp = jnp.broadcast_to(jnp.arange(4.0)[None, :, None], (4, 4, 1))
    >>> boxes = jnp.array([[0.0, 0.0, 8.0, 8.0], [1.0, 0.0, 9.0, 8.0]])
    >>> print(mnc_jax.roi_warp(ramp, boxes, size=2, stride=2)[:, 0, :, 0])
    [[0.5 2.5]
     [1.  3. ]]
  """
  chex.assert_rank([features, boxes], [3, 2])
  chex.assert_axis_dimension(boxes, 1, 4)
  features = _check_float(features)
  y, x = _samples(features, boxes, cells, size=size, stride=stride, grid=grid, border=border)
  return _warp_function(method)(as_float(features), y, x).astype(features.dtype)


def roi_pool(features: Array, boxes: Array, *, size: int, pool: int, stride: int,
             grid: str = "center", method: str = "gather", border: str = "zero",
             chunk: int = 16, cells: Array | None = None) -> jax.Array:
  """Warps size * pool samples per side and max-pools them pool x pool.

  `chunk` RoIs are warped at a time, and the backward pass reads the features again, so that the
  samples (482 MB for 300 RoIs of 28 x 28 x 512) are never all in memory. It only keeps, as a byte,
  which sample of each cell was the largest; of equal ones the first takes the gradient.

  Args:
    features: [H, W, K].
    boxes: [R, 4] pixels.
    size: cells per side after pooling.
    pool: samples per cell along each axis.
    stride: pixels per feature cell.
    grid: as in `roi_warp`.
    method: as in `roi_warp`.
    border: as in `roi_warp`.
    chunk: RoIs at a time. It changes memory and time, not the result.
    cells: as in `roi_warp`.

  Returns:
    [R, size, size, K] in the dtype of `features`.

  Gradient:
    As of `roi_warp`, through the largest samples. By reverse mode only: `jax.jvp` and
    `jax.jacfwd` raise a TypeError.

  Raises:
    TypeError: as `roi_warp`.
    ValueError: as `roi_warp`.
  """
  chex.assert_rank([features, boxes], [3, 2])
  chex.assert_axis_dimension(boxes, 1, 4)
  features = _check_float(features)
  count, dtype = boxes.shape[0], features.dtype
  # The gradients of chunks are added up in the dtype that the chunks read.
  exact = as_float(features)

  @functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.save_only_these_names(WINNERS))
  def warp_and_pool(features, boxes):
    y, x = _samples(features, boxes, cells, size=size * pool, stride=stride, grid=grid,
                    border=border)
    return _warp_and_max(features, y, x, pool, _warp_function(method)).astype(dtype)

  if count <= chunk:
    return warp_and_pool(exact, boxes)
  chunks = -(-count // chunk)
  padded = jnp.pad(boxes, ((0, chunks * chunk - count), (0, 0))).reshape(chunks, chunk, 4)
  pooled = jax.lax.map(functools.partial(warp_and_pool, exact), padded)
  return pooled.reshape((-1,) + pooled.shape[2:])[:count]


def _warp_and_max(features, y, x, pool, warp):
  """Returns the largest of the pool x pool samples of each cell, [R, S, S, K].

  Samples are warped in the order of their positions in a cell, so that those to be compared are in
  tiles. The gradient of strided slices would be a padding with holes: a fifth of a training step
  on a TPU, by the compiler's plan.
  """
  size = y[0].shape[1] // pool
  by_position = lambda samples: jax.tree.map(
      lambda part: part.reshape(-1, size, pool).swapaxes(1, 2).reshape(-1, pool * size), samples)
  # In float32 up to the maximum: among samples that bfloat16 makes equal, the wrong one would take
  # the gradient, and a box's was off by a tenth.
  return max_of_tiles(warp(features, by_position(y), by_position(x)), pool)


def _samples(features, boxes, cells, *, size, stride, grid, border):
  """Returns the samples along y and x as from `_sample_axis`, in float32 at least."""
  # In bfloat16 the weights would be those of boxes off by hundredths of a cell, and a box's
  # gradient, a small difference of large sums over channels, twice as far off.
  _check_choice("grid", grid, _GRIDS)
  _check_choice("border", border, _BORDERS)
  rows, columns = features.shape[:2] if cells is None else cells
  boxes = as_float(boxes)
  sample = functools.partial(_sample_axis, size=size, stride=stride, grid=grid, border=border)
  return (sample(boxes[:, 1], boxes[:, 3], rows), sample(boxes[:, 0], boxes[:, 2], columns))


def _sample_axis(low, high, cells, *, size, stride, grid, border):
  """Returns positions [R, size] in cells of the samples along one axis, and which count."""
  fractions = (jnp.arange(size) + (0.5 if grid == "center" else 0.0)) / size
  if grid == "caffe":
    low, high = _round_half_away(low / stride), _round_half_away(high / stride)
    positions = low[:, None] + rounded(along(larger(high - low, 0.0), fractions))
    inside = (positions >= -0.5) & (positions <= cells - 0.5)
    return clamp_positions(positions, cells), inside
  positions = (low[:, None] + rounded(along(high - low, fractions))) / stride
  if grid == "center":
    positions = rounded(positions) - 0.5
  if border == "clamp":
    positions = clamp_positions(positions, cells)
  return positions, jnp.ones_like(positions, bool)


def _round_half_away(values):
  # jnp.round rounds half to even. The difference is exact in floating point, and so is the sum.
  nearest = jnp.sign(values) * jnp.floor(jnp.abs(values) + 0.5)
  return values + jax.lax.stop_gradient(nearest - values)  # Straight-through gradient.


def _warp_by_gather(features, y, x):
  """Sums the four neighbours of each sample; y and x are from `_sample_axis`."""
  rows, row_weights = _neighbors_of(y, features.shape[0])
  columns, column_weights = _neighbors_of(x, features.shape[1])
  warped = 0.0
  for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
    weights = row_weights[:, :, None, i] * column_weights[:, None, :, j]
    neighbor = features[rows[:, :, None, i], columns[:, None, :, j]]
    warped += neighbor * weights[..., None]
  return warped


def _neighbors_of(samples, cells):
  positions, inside = samples
  indices, weights = neighbors(positions, cells)
  return indices, jnp.where(inside[..., None], weights, 0.0)


def _warp_by_matmul(features, y, x):
  """Contracts the longer axis first, then the other; y and x are from `_sample_axis`."""
  height, width = features.shape[:2]
  rows, columns = (jnp.where(inside[..., None], kappa(positions, cells), 0.0)
                   for (positions, inside), cells in ((y, height), (x, width)))
  if width >= height:
    half = _contract(columns, features.swapaxes(0, 1))
    return _dot("ryh,rxhk->ryxk", rows, half)
  return _dot("rxw,rywk->ryxk", columns, _contract(rows, features))


# Products in full: TF32 or bfloat16 passes would move the samples.
_dot = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def _contract(weights, features):
  """Returns the product of weights [R, S, n] and features [n, m, K], [R, S, m, K]."""
  return jax.lax.platform_dependent(
      weights, features, cpu=_contract_merged,
      # Merged axes would be copied before and after the product: a tenth of a step on a TPU.
      default=functools.partial(_dot, "rsn,nmk->rsmk"))


def _contract_merged(weights, features):
  """The same as one plain matrix product; with more axes its gradient is slow on CPU."""
  product = _dot("in,nj->ij", weights.reshape(-1, weights.shape[-1]),
                 features.reshape(features.shape[0], -1))
  return product.reshape(*weights.shape[:2], *features.shape[1:])


def _warp_function(method):
  _check_choice("method", method, _METHODS)
  return _warp_by_gather if method == "gather" else _warp_by_matmul


def _check_float(features):
  """Returns features as an array of JAX, or raises TypeError."""
  features = jnp.asarray(features)
  if not jnp.issubdtype(features.dtype, jnp.floating):
    raise TypeError(f"features are {features.dtype}, must be float: samples lie between the cells. "
                    "Convert them first, as in features.astype(jnp.float32)")
  return features


def _check_choice(name, value, choices):
  if value not in choices:
    raise ValueError(f"{name} is {value!r}, must be one of {choices}")
