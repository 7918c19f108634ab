"""The data that flows through the cascade. These docstrings are the specification.

Axis letters: B images, H W rows and columns, K channels, A anchors per cell, R RoIs,
G ground-truth instances, C categories (0 is background), M mask side, D instances.

Boxes are float32 `[x1, y1, x2, y2]` in continuous pixels of the network input,
width = x2 - x1. Rows that only pad a static shape have `valid` False; their values never
change a result.
"""

from typing import NamedTuple

import jax
import numpy as np

MASK_SIDE = 112
"""Cells along each side of the masks of ground truth."""

Array = jax.Array | np.ndarray
"""An array on a device or on the host."""


class GroundTruth(NamedTuple):
  """The instances of one image, or with a leading B of several.

  Attributes:
    boxes: [G, 4] float32.
    labels: [G] int32, 1 ... C - 1; 0 in padding.
    masks: [G, 112, 112] uint8 0 or 1 (all other numbers count as 1), each mask resampled inside its
      own box.
    areas: [G] float32, pixels of each mask at the scale of the network input.
    crowd: [G] bool. A crowd region is never a target, and boxes inside it are neither positive
      nor negative.
    valid: [G] bool, False in padding.
    ignored_boxes: [I, 4] float32, the boxes of instances beyond `data.max_instances`, zeros in
      padding; None: there are none. Boxes on them are neither positive nor negative.
  """
  boxes: Array
  labels: Array
  masks: Array
  areas: Array
  crowd: Array
  valid: Array
  ignored_boxes: Array | None = None


class Batch(NamedTuple):
  """Images with their ground truth, padded to static shapes.

  Attributes:
    images: [B, H, W, 3] uint8 RGB, zero outside each image (right and below).
    image_sizes: [B, 2] int32 (height, width) of each image inside the padding.
      (0, 0) marks an image that only pads the batch; it has no loss.
    boxes, labels, masks, areas, crowd, valid, ignored_boxes: as in `GroundTruth`, with a leading B.
  """
  images: Array
  image_sizes: Array
  boxes: Array
  labels: Array
  masks: Array
  areas: Array
  crowd: Array
  valid: Array
  ignored_boxes: Array | None = None

  @property
  def ground_truth(self) -> GroundTruth:
    """The same arrays without the images."""
    return GroundTruth(*self[2:])

  @property
  def real(self) -> Array:
    """[B] bool, False for what only pads the batch."""
    return self.image_sizes[:, 0] > 0


class ImageInfo(NamedTuple):
  """What only the host knows about the images of a `Batch`, in the same order.

  Attributes:
    image_ids: [B] int64; -1 where the image only pads the batch.
    original_sizes: [B, 2] int32 (height, width) of the image file.
    scales: [B, 2] float64 (down, across), network pixels per pixel of the file: the exact ratio
      of the sizes per axis, since the sides of the network input are rounded. 0 in padding.
    dropped: [B] int32, instances of each image beyond `data.max_instances`.
  """
  image_ids: Array
  original_sizes: Array
  scales: Array
  dropped: Array


class StageFeatures(NamedTuple):
  """The feature map that each kind of stage reads: one and the same array if it is shared.

  Attributes:
    boxes: [h, w, K] for stage 1.
    masks: [h, w, K] for stages 2 and 4.
    categories: [h, w, K] for stages 3 and 5.
  """
  boxes: Array
  masks: Array
  categories: Array


class AnchorOutput(NamedTuple):
  """Stage 1's predictions for each anchor of one image.

  Attributes:
    anchors: [N, 4], N = H * W * A in the order row, column, anchor.
    objectness_logits: [N, 2] (background, object).
    box_deltas: [N, 4] (dx, dy, dw, dh) from the anchor.
    valid: [N] bool, False for anchors of cells that do not belong to the image.
  """
  anchors: Array
  objectness_logits: Array
  box_deltas: Array
  valid: Array


class Proposals(NamedTuple):
  """Class-agnostic boxes of one image, best first. Gradients flow into `boxes`.

  Attributes:
    boxes: [R, 4] inside the image; zero in padding.
    scores: [R] objectness probabilities; zero in padding.
    valid: [R] bool.
    anchors: [R] int32, the row of `AnchorOutput` that a box came from; -1 for ground-truth boxes
      and in padding.
    truncated: [] int32, number of boxes beyond `pre_nms`, and of boxes beyond R that no chosen box
      suppresses (overlaps among the truncated boxes are not considered).
  """
  boxes: Array
  scores: Array
  valid: Array
  anchors: Array
  truncated: Array


class StageOutput(NamedTuple):
  """Stages 2 and 3 (or 4 and 5) on the RoIs of one image.

  Attributes:
    boxes: [R, 4], the RoIs.
    valid: [R] bool.
    mask_logits: [R, M, M], class-agnostic, inside each RoI.
    category_logits: [R, C] of the mask path and box path together: used at test.
    box_category_logits: [R, C] of the same features, trained on box overlap alone.
    box_deltas: [R, C, 4] class-wise refinement, in units of `box_delta_stds`.
  """
  boxes: Array
  valid: Array
  mask_logits: Array
  category_logits: Array
  box_category_logits: Array
  box_deltas: Array


class Candidates(NamedTuple):
  """The part of `StageOutput` that votes on the instances of one image.

  Those of several views or models are concatenated, in pixels of the network input.

  Attributes:
    boxes: [R, 4], may reach outside the image.
    valid: [R] bool.
    mask_logits: [R, M, M], class-agnostic, inside each box.
    category_logits: [R, C].
    refined_boxes: [R, C, 4], the boxes moved once more, by the deltas of each category; not those
      that the masks fill. None: instances have the bounds of their masks.
  """
  boxes: Array
  valid: Array
  mask_logits: Array
  category_logits: Array
  refined_boxes: Array | None = None


class Instances(NamedTuple):
  """Object instances of one image, best first.

  The box of an instance and the box that its mask fills are two: with `inference.boxes`
  "regressed" a mask may reach beyond its instance's box. `paste_masks(found.masks,
  found.paste_boxes, height, width)` draws the masks.

  Attributes:
    boxes: [D, 4] float32 pixels of the network input: the result.
    labels: [D] int32, 1 ... C - 1; 0 in padding.
    scores: [D] float32; 0 in padding.
    masks: [D, M, M] float32 probabilities on a regular grid inside each of `paste_boxes`.
    valid: [D] bool.
    dropped: [] int32, number of instances beyond D that `min_score` and NMS would have kept. Each
      category counts D + 1 at most: with one category it is 0, or 1 if there are more than D.
    truncated_proposals: [] int32, `Proposals.truncated` of all views and models together.
    mask_boxes: [D, 4] float32, the box that each mask fills, the bounds of its part above
      `inference.mask_threshold`; zeros in padding. None: masks fill `boxes`.
  """
  boxes: Array
  labels: Array
  scores: Array
  masks: Array
  valid: Array
  dropped: Array | int = 0
  truncated_proposals: Array | int = 0
  mask_boxes: Array | None = None

  @property
  def paste_boxes(self) -> Array:
    """The boxes that the masks fill."""
    return self.boxes if self.mask_boxes is None else self.mask_boxes


class Detections(NamedTuple):
  """What `detect` finds in one image, best first: numpy arrays without padding, n may be 0.

  Attributes:
    boxes: [n, 4] float32 `[x1, y1, x2, y2]` in pixels of the image, inside it. Regressed, unless
      `inference.boxes` is "mask": not the bounds of the masks.
    masks: [n, h, w] bool, each of one pixel or more.
    scores: [n] float32, 0 ... 1.
    labels: [n] int32, 1 ... C - 1: one plus the index in `Model.category_names`.
    names: n category names, those of `labels`.
  """
  boxes: np.ndarray
  masks: np.ndarray
  scores: np.ndarray
  labels: np.ndarray
  names: tuple[str, ...]
