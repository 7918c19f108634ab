"""Greedy NMS in tiles: rows sorted by score, each tile against the chosen boxes, then itself.

Other tiled versions decide inside a tile by a fixed rule and differ from greedy NMS; here the
choice inside a tile is a fixed point, which is the greedy one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mnc_jax.ops.boxes import as_float, box_iou
from mnc_jax.structs import Array


class Ranked(NamedTuple):
  """Rows in the order of choice, padded to whole tiles with unusable rows.

  Attributes:
    boxes: [N', 4].
    usable: [N'] bool.
    rows: [N] int32, the row of the input at each rank.
  """
  boxes: jax.Array
  usable: jax.Array
  rows: jax.Array


class Chosen(NamedTuple):
  """The boxes chosen so far; slots from `num_chosen` on are unused.

  Attributes:
    ranks: [slots] int32, best first.
    boxes: [slots, 4].
    num_chosen: [] int32, above the number of slots if boxes found none.
  """
  ranks: jax.Array
  boxes: jax.Array
  num_chosen: jax.Array


def rank_rows(boxes: Array, scores: Array, usable: Array, *, presorted: bool = False) -> Ranked:
  """Sorts rows by falling score, of equal scores the lower row first.

  Args:
    boxes: [N, 4] pixels.
    scores: [N], NaN only where not usable. -inf is not usable.
    usable: [N] bool.
    presorted: keeps the order of the rows.

  Returns:
    `Ranked`, with the unusable rows last unless presorted.
  """
  # The choice is piecewise constant in boxes and scores, and the loops must not be taped.
  boxes, scores = jax.lax.stop_gradient((as_float(boxes), as_float(scores)))
  usable &= scores > -jnp.inf
  num_rows = scores.shape[0]
  rows = jnp.arange(num_rows, dtype=jnp.int32)
  if not presorted:
    _, rows = jax.lax.sort_key_val(jnp.where(usable, -scores, jnp.inf), rows, is_stable=True)
    boxes, usable = boxes[rows], usable[rows]
  padding = -num_rows % _tile_size(num_rows)
  return Ranked(jnp.pad(boxes, ((0, padding), (0, 0))), jnp.pad(usable, (0, padding)), rows)


def choose_by_tiles(ranked: Ranked, *, iou_threshold: float | Array, max_outputs: int) -> Chosen:
  """Chooses greedily until `max_outputs` boxes are chosen or no usable row is left.

  Args:
    ranked: from `rank_rows`.
    iou_threshold: boxes with IoU > this with a chosen one are suppressed.
    max_outputs: boxes chosen at most.

  Returns:
    `Chosen` with min(max_outputs, N) slots.
  """
  num_rows = ranked.rows.shape[0]
  tile, slots = _tile_size(num_rows), min(max_outputs, num_rows)
  none = Chosen(
      jnp.zeros(slots, jnp.int32), jnp.zeros((slots, 4), ranked.boxes.dtype), jnp.int32(0))
  if slots == 0:
    return none
  boxes, usable = ranked.boxes.reshape(-1, tile, 4), ranked.usable.reshape(-1, tile)
  read = lambda number: tuple(
      jax.lax.dynamic_index_in_dim(x, number, keepdims=False) for x in (boxes, usable))
  counts = jnp.arange(1, usable.shape[0] + 1, dtype=jnp.int32)
  num_tiles = jnp.max(jnp.where(usable.any(axis=1), counts, 0))

  def choose(state):
    number, chosen, tile_boxes, candidates = state
    candidates &= ~suppressed(tile_boxes, chosen, iou_threshold)
    kept = _choose_in_tile(tile_boxes, candidates, iou_threshold)
    ranks = number * tile + jnp.arange(tile, dtype=jnp.int32)
    return number + 1, _append(chosen, ranks, tile_boxes, kept), *read(number + 1)

  # The next tile travels in the state: read where it is used, XLA on CPU fuses the reading with
  # the overlaps, which then take five times as long.
  return jax.lax.while_loop(
      lambda state: (state[0] < num_tiles) & (state[1].num_chosen < slots), choose,
      (jnp.int32(0), none, *read(0)))[1]


def suppressed(boxes: Array, chosen: Chosen, iou_threshold: float | Array) -> jax.Array:
  """Returns [M] bool, which of the boxes [M, 4] have IoU > `iou_threshold` with a chosen one."""
  used = jnp.arange(chosen.boxes.shape[0]) < chosen.num_chosen
  return jnp.any((box_iou(chosen.boxes, boxes) > iou_threshold) & used[:, None], axis=0)


def _tile_size(num_rows):
  """Returns the rows per tile.

  A tile is compared with itself, which costs more than the turns it saves where few boxes are
  kept (per category in mask voting). On CPU, 64 is the faster for 600 and 1000 rows, and 64 to
  256 make no difference for 6000; on accelerators fewer turns are better.
  """
  return 64 if num_rows <= 1024 else 256


def _choose_in_tile(boxes, candidates, iou_threshold):
  """Returns [T] bool, the candidates that greedy NMS keeps of boxes [T, 4], best first.

  kept = the candidates that no earlier kept box suppresses, repeated until nothing changes.
  After n turns the first n rows are final, so the only fixed point is the greedy choice. It takes
  at most one turn more than the longest chain of boxes that each overlap the next.
  """
  ranks = jnp.arange(boxes.shape[0])
  overlaps = (box_iou(boxes, boxes) > iou_threshold) & (ranks[:, None] < ranks[None])

  def repeat(state):
    kept, _ = state
    repeated = candidates & ~jnp.any(overlaps & kept[:, None], axis=0)
    return repeated, jnp.any(repeated != kept)

  return jax.lax.while_loop(
      lambda state: state[1], repeat, (candidates, jnp.any(candidates)))[0]


def _append(chosen, ranks, boxes, kept):
  """Adds the kept rows to the chosen ones; those beyond the last slot are dropped."""
  slots = chosen.ranks.shape[0]
  slot = chosen.num_chosen + jnp.cumsum(kept, dtype=jnp.int32) - 1
  slot = jnp.where(kept, slot, slots)
  return Chosen(chosen.ranks.at[slot].set(ranks, mode="drop"),
                chosen.boxes.at[slot].set(boxes, mode="drop"),
                chosen.num_chosen + jnp.sum(kept, dtype=jnp.int32))
