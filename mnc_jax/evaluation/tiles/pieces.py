"""Which instances of a tile are pieces that its border cut off from a larger object."""

from collections.abc import Iterator

import jax
import numpy as np

from mnc_jax.coco.rle import measure_iou
from mnc_jax.config import InferenceConfig
from mnc_jax.evaluation.tiles.run import TileResults
from mnc_jax.ops.masks import resample_masks

# A box that ends this close to an inner border of its tile, as a share of the tile's side, was cut
# there: the sides of predicted boxes are not exact.
_NEAR = 0.05
# A piece has at least this share of its mask in the whole object's. Neighbours that touch have
# less, although one is often in the other's box.
_INSIDE = 0.5
# Share of a piece's area that an object must have which its own tile did not cut.
_LARGER = 0.8
# Share of a piece's score that the whole object must reach: a doubtful one replaces nothing.
_BELIEVED = 0.5

_PAIRS = 1024  # Rows of the compiled program.
_COMPARED = 256  # Rows whose overlaps with all others exist at a time.


def find_pieces(found: TileResults, size: tuple[int, int], config: InferenceConfig) -> np.ndarray:
  """Returns [n] bool, which instances are pieces of larger ones.

  A piece touches an inner border of its tile, and is in the mask of a larger instance that reaches
  this border too, of whatever category.

  Args:
    found: of all tiles.
    size: (height, width) of the image.
    config: `mask_threshold`.
  """
  boxes, scores, windows = np.asarray(found.instances.boxes), found.instances.scores, found.windows
  inner = windows != np.array([0, 0, size[1], size[0]], np.float32)
  margins = _NEAR * np.tile(windows[:, 2:] - windows[:, :2], 2)
  outward = np.array([-1, -1, 1, 1])
  reach = lambda rows, others: (boxes[others] - windows[rows]) * outward > -margins[rows]
  near = inner & reach(slice(None), slice(None))
  cut = near.any(axis=1)
  areas = _mask_areas(found.instances, config.mask_threshold)
  # Of two that are cut the smaller is the piece; one that is whole may be measured smaller.
  largest = areas / np.where(cut, 1, _LARGER)
  pieces = np.zeros(len(boxes), bool)
  for rows, shares in box_overlaps(boxes, np.flatnonzero(cut), of_first=True):
    # No smaller share of the box can hold such a share of a mask that fills half of the box.
    pairs = (shares > _INSIDE / 2) & (largest > areas[rows, None])
    pairs &= scores >= _BELIEVED * scores[rows, None]
    first, second = np.nonzero(pairs)
    beyond = (near[rows[first]] & reach(rows[first], second)).any(axis=1)
    first, second = rows[first[beyond]], second[beyond]
    inside = _mask_shares(found.instances, first, second, config.mask_threshold)
    pieces[first[inside >= _INSIDE]] = True
  return pieces


def _mask_areas(instances, threshold):
  sides = instances.paste_boxes[:, 2:] - instances.paste_boxes[:, :2]
  return sides.prod(axis=1) * (instances.masks > threshold).mean(axis=(1, 2))


def box_overlaps(boxes: np.ndarray, rows: np.ndarray, *, of_first: bool = False
                 ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields some of `rows` at a time, and their overlaps with all boxes.

  Args:
    boxes: [n, 4] pixels.
    rows: [r] rows of them.
    of_first: whether the overlap is the share of the row's own area, not the IoU.

  Yields:
    [k] of the rows in their order, and [k, n] float64.
  """
  corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)
  for start in range(0, len(rows), _COMPARED):
    some = rows[start:start + _COMPARED]
    # With a crowd the union is replaced by the area of the other box.
    crowd = np.full(len(boxes), of_first, np.uint8)
    yield some, np.asarray(measure_iou(corners[some], corners, crowd))


def _mask_shares(instances, first, second, threshold):
  """Returns the share [p] of each first row's mask that is in the mask of the second."""
  shares = np.zeros(len(first), np.float32)
  for start in range(0, len(first), _PAIRS):
    part = slice(start, start + _PAIRS)
    one, other = (np.pad(rows[part], (0, max(start + _PAIRS - len(rows), 0)))
                  for rows in (first, second))
    read = _read_masks(instances.masks[other], instances.paste_boxes[other],
                       instances.paste_boxes[one])
    own = instances.masks[one] > threshold
    both = (own & (np.asarray(read) > threshold)).sum(axis=(1, 2))
    shares[part] = (both / np.maximum(own.sum(axis=(1, 2)), 1))[:len(first) - start]
  return shares


@jax.jit
def _read_masks(masks, from_boxes, to_boxes):
  return resample_masks(masks, from_boxes, to_boxes, masks.shape[1])
