"""Sizes of images at the scale of the network, and the buckets that these are padded to."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mnc_jax.data.records import BrokenImageError


def scale_factors(sizes: ArrayLike, short_side: int, long_side: int) -> np.ndarray:
  """Returns [N] float64 that bring `sizes` (h, w) to `short_side`, or less to keep `long_side`."""
  sizes = np.asarray(sizes, np.float64)
  return np.minimum(short_side / sizes.min(axis=1), long_side / sizes.max(axis=1))


def scaled_sizes(sizes: ArrayLike, short_side: int, long_side: int) -> np.ndarray:
  """Returns [N, 2] int32 `sizes` after scaling to `short_side` and `long_side`, at least 1."""
  scaled = np.asarray(sizes) * scale_factors(sizes, short_side, long_side)[:, None]
  return np.maximum(np.rint(scaled), 1).astype(np.int32)


def choose_buckets(sizes: ArrayLike, buckets: Sequence[tuple[int, int]], image_ids: np.ndarray, *,
                   name: str = "") -> np.ndarray:
  """Returns [N] int32, for each of `sizes` (h, w) which of `buckets` pads it least.

  Raises:
    BrokenImageError: if a size fits into none, naming the image by `image_ids`, or by `name`.
  """
  sizes, bounds = np.asarray(sizes), np.asarray(buckets)
  fits = np.all(sizes[:, None] <= bounds[None], axis=2)
  if not fits.any(axis=1).all():
    out = ~fits.any(axis=1)
    row, needed = int(out.argmax()), sizes[out].max(axis=0)
    others = f" (nor do {out.sum() - 1} others)" if out.sum() > 1 else ""
    name = name or f"image {image_ids[row]}"
    raise BrokenImageError(
        f"{name} is {sizes[row][0]} x {sizes[row][1]} (height x width) after scaling and fits into "
        f"none of data.buckets {tuple(buckets)}{others}: add one of {needed[0]} x {needed[1]} or "
        "more, or leave data.buckets empty, which follows data.short_side and data.long_side")
  areas = np.where(fits, bounds.prod(axis=1)[None], np.iinfo(np.int64).max)
  return areas.argmin(axis=1).astype(np.int32)
