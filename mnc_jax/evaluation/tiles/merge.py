"""What was found in the tiles of an image, merged.

Objects in the overlap of tiles, and on several scales, are found several times. NMS per category
keeps the best of each, and those similar to it vote on its mask, as the candidates within an image
do (`ops.voting`). Only what an inner border of a tile cut is compared otherwise: a piece may score
more than the whole object, but overlap it too little for NMS.
"""

from collections.abc import Iterator
import functools

import jax
import jax.numpy as jnp
import numpy as np

from mnc_jax.config import InferenceConfig
from mnc_jax.evaluation.results import take_rows
from mnc_jax.evaluation.tiles.pieces import box_overlaps, find_pieces
from mnc_jax.evaluation.tiles.run import TileResults
from mnc_jax.ops.mask_average import average_masks
from mnc_jax.ops.nms import nms, soft_nms
from mnc_jax.structs import Instances

_CHOSEN, _VOTERS = 64, 16  # Rows of the compiled program.


def merge_tiles(found: TileResults, size: tuple[int, int], config: InferenceConfig) -> Instances:
  """Merges what was found in the tiles of an image.

  An instance that touches an inner border of its tile, and is in the mask of a larger one that
  reaches this border too, is a piece of it and is dropped, whatever their categories are. Of the
  others NMS per category chooses, by `config`. Those of the same category with box IoU >=
  `similar_iou` and a score no higher vote on the mask and box of each, weighted by their scores: at
  most 16, the best.

  Args:
    found: of all tiles.
    size: (height, width) of the image.
    config: NMS and voting.

  Returns:
    `Instances` without padding, best first, boxes and masks in pixels of the image. There are as
    many as the tiles hold: `config.max_instances` was each tile's limit.

  Degenerate input:
    Nothing found: no rows.
  """
  whole = take_rows(found.instances, ~find_pieces(found, size, config))
  chosen, scores = _choose(whole, config)
  order = np.argsort(-scores, kind="stable")
  chosen = chosen[order]
  merged = take_rows(whole, chosen)._replace(scores=scores[order])
  for rows, voters in _list_voters(whole, chosen, config):
    voted = _vote(whole, voters, size, config)
    for name, values in zip(("boxes", "mask_boxes", "masks"), voted, strict=True):
      getattr(merged, name)[rows] = values
  return merged


def _choose(instances, config):
  """Returns the rows that NMS chooses in each category, and their scores."""
  count = len(instances.labels)
  # Powers of 4, so that images of all sizes share a few programs.
  padding = (0, 4 ** max(int(np.ceil(np.log2(max(count, 1)) / 2)), 4) - count)
  boxes = np.pad(instances.boxes, (padding, (0, 0)))
  scores, labels = np.pad(instances.scores, padding), np.pad(instances.labels, padding)
  sigma = config.soft_nms_sigma if config.nms == "soft" else None
  rows, lowered = [np.zeros(0, int)], [np.zeros(0, np.float32)]
  for label in np.unique(instances.labels):
    indices, left, valid = jax.device_get(_nms(
        boxes, scores, labels == label, config.nms_iou, config.min_score, soft_nms_sigma=sigma))
    rows.append(indices[valid])
    lowered.append(left[valid])
  return np.concatenate(rows), np.concatenate(lowered)


@functools.partial(jax.jit, static_argnames="soft_nms_sigma")
def _nms(boxes, scores, valid, nms_iou, min_score, *, soft_nms_sigma):
  if soft_nms_sigma is not None:
    return soft_nms(boxes, scores, sigma=soft_nms_sigma, max_outputs=len(scores), valid=valid,
                    min_score=min_score)
  indices, found = nms(boxes, scores, iou_threshold=nms_iou, max_outputs=len(scores), valid=valid)
  return indices, scores[indices], found


def _list_voters(instances, chosen, config) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields, for 64 instances or fewer at a time that have several voters, which these are.

  Args:
    instances: the candidates.
    chosen: [d] rows of them.
    config: `similar_iou`.

  Yields:
    [64 or fewer] numbers of instances, from 0 to d - 1, and [as many, 16] rows of their voters, the
    chosen one first; -1 where there are no more.
  """
  numbers, voters = [], []
  start = 0
  for some, overlaps in box_overlaps(instances.boxes, chosen):
    for number, (row, similar) in enumerate(zip(some, overlaps >= config.similar_iou, strict=True),
                                            start=start):
      similar &= instances.labels == instances.labels[row]
      similar &= instances.scores <= instances.scores[row]
      similar[row] = False
      others = np.flatnonzero(similar)
      others = others[np.argsort(-instances.scores[others], kind="stable")][:_VOTERS - 1]
      if len(others):
        numbers.append(number)
        voters.append(np.pad(np.r_[row, others], (0, _VOTERS - 1 - len(others)),
                             constant_values=-1))
    start += len(some)
  for first in range(0, len(numbers), _CHOSEN):
    part = slice(first, first + _CHOSEN)
    yield np.array(numbers[part]), np.array(voters[part])


def _vote(instances, voters, size, config):
  """Returns the boxes, boxes of masks, and masks of voters [d, 16], -1 where there is none."""
  count = len(voters)
  rows = np.pad(voters, ((0, _CHOSEN - count), (0, 0)), constant_values=-1)
  weights = np.where(rows >= 0, instances.scores[rows], 0)
  weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
  votes = np.zeros((_CHOSEN, _CHOSEN, _VOTERS), np.float32)
  votes[np.arange(_CHOSEN), np.arange(_CHOSEN)] = weights
  rows = rows.ravel()
  mask_boxes, masks = (x[:count] for x in jax.device_get(_average_masks(
      instances.masks[rows], instances.paste_boxes[rows], votes.reshape(_CHOSEN, -1),
      config.mask_threshold, *size)))
  boxes = np.einsum("dv,dvk->dk", weights[:count], instances.boxes[voters])
  return (mask_boxes if config.boxes == "mask" else boxes), mask_boxes, masks


@jax.jit
def _average_masks(masks, boxes, votes, mask_threshold, height, width):
  chosen = jnp.arange(_CHOSEN) * _VOTERS
  return average_masks(masks, boxes, votes, chosen, height=height, width=width,
                       mask_threshold=mask_threshold)
