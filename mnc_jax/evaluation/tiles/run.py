"""What the network finds in each tile of an image."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mnc_jax.config import Config
from mnc_jax.data.transforms import resize_image
from mnc_jax.evaluation.limits import score_at_limit
from mnc_jax.evaluation.results import ROWS, take_image, take_rows, to_file_pixels
from mnc_jax.evaluation.tiles.plan import TilePlan
from mnc_jax.structs import Instances


class TileResults(NamedTuple):
  """What was found in all tiles of one image, n rows without padding, numpy arrays.

  Attributes:
    instances: of the sizes of their levels, boxes in pixels of the image. `dropped` and
      `truncated_proposals` are sums.
    windows: [n, 4] float32, the tile of each row, in pixels of the image.
    limits: [tiles] float32, `score_at_limit` of each.
  """
  instances: Instances
  windows: np.ndarray
  limits: np.ndarray


def find_in_tiles(find: Callable[[np.ndarray, np.ndarray], Instances], image: np.ndarray,
                  plan: TilePlan, *, configs: Sequence[Config],
                  beat: Callable[[int], None] = lambda done: None) -> TileResults:
  """Finds the instances of each tile of an image.

  Args:
    find: from images [B, H, W, 3] uint8 and sizes [B, 2] int32 to `Instances` with leading B, as
      `predict`, on the host. It always gets the same B, H and W; tiles of size (0, 0) pad the last
      batch.
    image: [h, w, 3] uint8 RGB.
    plan: of an image of this size.
    configs: of the models; B is `data.eval_batch_size` of the first.
    beat: called after each batch with the number of tiles done.

  Returns:
    `TileResults`, in the order of the tiles. Nothing found: no rows.
  """
  batch_size = configs[0].data.eval_batch_size
  parts, limits, counts, tiles, done = [], [], np.zeros(2, int), _cut_tiles(image, plan), 0
  # A batch takes no tile that it has no room for.
  while batch := [tile for _, tile in zip(range(batch_size), tiles, strict=False)]:
    found = find(*_stack(batch, batch_size, plan.bucket))
    for row, tile in enumerate(batch):
      one = take_image(found, row)
      limits.append(score_at_limit(one, configs))
      parts.append(_restore(one, tile))
    counts += np.sum(found.dropped), np.sum(found.truncated_proposals)
    done += len(batch)
    beat(done)
  instances, windows = zip(*parts, strict=True)
  columns = {name: np.concatenate([getattr(one, name) for one in instances]) for name in ROWS}
  return TileResults(
      Instances(**columns, dropped=int(counts[0]), truncated_proposals=int(counts[1])),
      np.concatenate(windows), np.array(limits, np.float32))


class _Tile(NamedTuple):
  """One tile: pixels [h, w, 3], (left, top) in the scaled image, that image's scales and sides."""
  pixels: np.ndarray
  left_top: tuple[int, int]
  scales: np.ndarray
  sides: tuple[float, float]

  @property
  def window(self) -> np.ndarray:
    """The tile in pixels of the image, [4] float32."""
    left, top = self.left_top
    height, width = self.pixels.shape[:2]
    corners = np.array([left, top, left + width, top + height])
    return (corners / np.tile(self.scales[::-1], 2)).astype(np.float32)


def _cut_tiles(image, plan):
  """Yields each `_Tile`; only one scaled image exists at a time."""
  for level in plan.levels:
    scaled = resize_image(image, level.size)
    height, width = level.tile
    for top, left in level.corners:
      yield _Tile(scaled[top:top + height, left:left + width], (left, top),
                  np.divide(level.size, plan.size), level.sides)


def _stack(tiles, batch_size, bucket):
  """Returns images [B, H, W, 3] and sizes [B, 2] of the tiles, zeros where there is none."""
  images = np.zeros((batch_size, *bucket, 3), np.uint8)
  sizes = np.zeros((batch_size, 2), np.int32)
  for row, tile in enumerate(tiles):
    height, width = sizes[row] = tile.pixels.shape[:2]
    images[row, :height, :width] = tile.pixels
  return images, sizes


def _restore(found, tile):
  """Returns the instances that a tile's level takes, in pixels of the image, and their windows."""
  sides = np.max(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)
  found = take_rows(found, (tile.sides[0] <= sides) & (sides <= tile.sides[1]))
  moved = np.tile(np.float32(tile.left_top), 2)
  found = found._replace(boxes=found.boxes + moved, mask_boxes=found.paste_boxes + moved)
  return (to_file_pixels(found, tile.scales),
          np.broadcast_to(tile.window, (len(found.labels), 4)))
