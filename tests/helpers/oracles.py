"""Slow, plain numpy versions of the operations, written from their definitions."""

import math

import numpy as np


def random_boxes(rng, count, extent, smallest=1.0, largest=None):
  """Boxes [count, 4] float32 with centres in a square image of side `extent`."""
  centers = rng.uniform(0, extent, (count, 2))
  sides = rng.uniform(smallest, largest or extent / 2, (count, 2))
  return np.concatenate([centers - sides / 2, centers + sides / 2], axis=1).astype(np.float32)


DEGENERATE_BOXES = np.array([
    [3, 2, 3, 6],  # zero width
    [3, 2, 6, 2],  # zero height
    [4, 4, 4, 4],  # a point
    [6, 5, 2, 1],  # inverted
    [-50, -50, -40, -40],  # outside
    [1e6, 1e6, 2e6, 2e6],  # far outside
    [0, 0, 8, 8],  # the image
    [2, 3, 2 + 1e-7, 3 + 1e-7],  # narrower than float32 resolves here
], np.float32)


def box_iou(boxes_a, boxes_b):
  """IoU of every pair, in the dtype of the boxes."""
  def area(x1, y1, x2, y2):
    return np.maximum(x2 - x1, 0) * np.maximum(y2 - y1, 0)
  a, b = boxes_a.T[:, :, None], boxes_b.T[:, None, :]
  inter = area(*np.maximum(a[:2], b[:2]), *np.minimum(a[2:], b[2:]))
  area_a, area_b = np.broadcast_arrays(area(*a), area(*b))
  overlaps = np.zeros_like(inter)
  real = (area_a > 0) & (area_b > 0)
  overlaps[real] = inter[real] / (area_a + area_b - inter)[real]
  return overlaps


def encode(box, anchor):
  width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
  return np.array([
      ((box[0] + box[2]) / 2 - (anchor[0] + anchor[2]) / 2) / width,
      ((box[1] + box[3]) / 2 - (anchor[1] + anchor[3]) / 2) / height,
      math.log((box[2] - box[0]) / width), math.log((box[3] - box[1]) / height)])


def greedy_nms(boxes, scores, threshold, max_outputs, valid=None):
  """Indices chosen by greedy NMS, best first, as a list."""
  valid = np.ones(len(scores), bool) if valid is None else valid
  left = [i for i in range(len(scores)) if valid[i] and not np.isnan(scores[i])]
  left.sort(key=lambda i: (-scores[i], i))
  overlaps, kept = box_iou(boxes, boxes), []
  for i in left:
    if all(overlaps[i, j] <= boxes.dtype.type(threshold) for j in kept):
      kept.append(i)
  return kept[:max_outputs]


def soft_nms(boxes, scores, sigma, max_outputs, valid=None, min_score=0.0):
  """(index, lowered score) of the boxes chosen by soft-NMS, best first, as a list."""
  valid = np.ones(len(scores), bool) if valid is None else valid
  left = {i: float(scores[i]) for i in range(len(scores))
          if valid[i] and np.isfinite(scores[i]) and scores[i] > 0}
  overlaps, chosen = box_iou(boxes, boxes).astype(np.float64), []
  while left and len(chosen) < max_outputs:
    best = max(left, key=lambda i: (left[i], -i))
    if left[best] < min_score:
      break
    chosen.append((best, left.pop(best)))
    for i in left:
      left[i] *= math.exp(-overlaps[best, i] ** 2 / sigma)
  return chosen


def kappa(z):
  return np.maximum(0.0, 1.0 - np.abs(z))


def roi_warp(features, boxes, size, stride, grid):
  """Sums kappa over the whole map for every sample, in float64."""
  features, boxes = features.astype(np.float64), boxes.astype(np.float64)
  height, width = features.shape[:2]
  def weights(low, high, cells):
    steps = np.arange(size)
    if grid == "center":
      positions = (low + (steps + 0.5) / size * (high - low)) / stride - 0.5
    elif grid == "edge":
      positions = (low + steps / size * (high - low)) / stride
    else:
      low, high = (math.copysign(math.floor(abs(v / stride) + 0.5), v) for v in (low, high))
      positions = low + steps / size * max(high - low, 0.0)
      outside = (positions < -0.5) | (positions > cells - 0.5)
      positions = np.where(outside, -9.0, np.clip(positions, 0, cells - 1))
    return kappa(positions[:, None] - np.arange(cells)[None])
  return np.stack([
      np.einsum("yh,xw,hwk->yxk", weights(y1, y2, height), weights(x1, x2, width), features)
      for x1, y1, x2, y2 in boxes])


def read_mask(mask, box, x, y):
  """The value at pixel position (x, y) of a mask [M, M] that lives in a box."""
  x1, y1, x2, y2 = (float(v) for v in box)
  if not (x1 <= x < x2 and y1 <= y < y2):
    return 0.0
  rows, columns = mask.shape
  row = min(max((y - y1) / (y2 - y1) * rows - 0.5, 0), rows - 1)
  column = min(max((x - x1) / (x2 - x1) * columns - 0.5, 0), columns - 1)
  return float(kappa(row - np.arange(rows)) @ mask @ kappa(column - np.arange(columns)))


def read_mask_on(mask, box, xs, ys):
  return np.array([[read_mask(mask, box, x, y) for x in xs] for y in ys])


def paste_masks(masks, boxes, height, width):
  xs, ys = np.arange(width) + 0.5, np.arange(height) + 0.5
  return np.stack([read_mask_on(mask, box, xs, ys) for mask, box in zip(masks, boxes)])


def resample_masks(masks, from_boxes, to_boxes, size):
  steps = (np.arange(size) + 0.5) / size
  read = []
  for mask, box, (x1, y1, x2, y2) in zip(masks, from_boxes, to_boxes):
    read.append(read_mask_on(mask, box, x1 + steps * (x2 - x1), y1 + steps * (y2 - y1)))
  return np.stack(read)


def scale_image(image, factor, height, width):
  """Rows 0 ... height - 1 and columns 0 ... width - 1 of an image [h, w, K] scaled by a factor.

  A pixel of the result is the weighted mean of pixels under a triangle around its position in
  the image, as wide as the coarser of the two grids; edge pixels continue beyond the border.
  """
  def weights(side, count):
    reach, matrix = max(1 / factor, 1.0), np.zeros((count, side))
    for i in range(count):
      position = (i + 0.5) / factor - 0.5
      for j in range(math.floor(position - reach), math.ceil(position + reach) + 1):
        matrix[i, min(max(j, 0), side - 1)] += kappa((j - position) / reach)
    return matrix / matrix.sum(axis=1, keepdims=True)
  rows, columns = weights(image.shape[0], height), weights(image.shape[1], width)
  return np.einsum("yh,xw,hwk->yxk", rows, columns, image.astype(np.float64))


def vote_masks(masks, boxes, class_scores, nms_iou, similar_iou, max_instances, height, width,
               soft_nms_sigma=None):
  """A list of (label, candidate, score, soft mask in the image frame), best first."""
  chosen = []
  for label in range(1, class_scores.shape[1]):
    scores = class_scores[:, label]
    usable = np.nan_to_num(scores) > 0
    kept = ([(i, scores[i]) for i in greedy_nms(boxes, scores, nms_iou, max_instances, usable)]
            if soft_nms_sigma is None
            else soft_nms(boxes, scores, soft_nms_sigma, max_instances, usable))
    chosen += [(-score, label, i) for i, score in kept]
  canvases, instances = paste_masks(masks, boxes, height, width), []
  for score, label, i in sorted(chosen)[:max_instances]:
    similar = (box_iou(boxes[i:i + 1], boxes)[0] >= similar_iou) | (np.arange(len(boxes)) == i)
    votes = np.where(similar, np.maximum(np.nan_to_num(class_scores[:, label]), 0), 0.0)
    soft = np.tensordot(votes / votes.sum(), canvases, axes=1)
    instances.append((label, i, -score, soft))
  return instances
