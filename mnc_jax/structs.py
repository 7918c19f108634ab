"""The data that flows through the cascade. These docstrings are the specification.

Axis letters: B images, H W rows and columns, K channels, A anchors a cell, R RoIs,
G ground-truth instances, C categories (0 is background), M mask side, D instances.

Boxes are float32 `[x1, y1, x2, y2]` in continuous pixels of the network input,
width = x2 - x1. Rows that only fill up a static shape have `valid` False; what
stands in them never changes a result.
"""

from typing import NamedTuple

import jax

Array = jax.Array


class Batch(NamedTuple):
  """Images with their ground truth, padded to static shapes.

  Attributes:
    images: [B, H, W, 3] uint8 RGB, zero outside each image (right and below).
    image_sizes: [B, 2] int32 (height, width) of each image inside the padding.
      (0, 0) marks an image that only fills up the batch; it has no loss.
    boxes: [B, G, 4] float32.
    labels: [B, G] int32, 1 ... C - 1; 0 in padding.
    masks: [B, G, 112, 112] uint8 0 or 1, each mask resampled inside its own box.
    areas: [B, G] float32, pixels of each mask at the scale of the network input.
    crowd: [B, G] bool. A crowd region is never a target, and boxes that lie in it
      are neither positive nor negative.
    valid: [B, G] bool, False in padding.
  """
  images: Array
  image_sizes: Array
  boxes: Array
  labels: Array
  masks: Array
  areas: Array
  crowd: Array
  valid: Array


class ImageInfo(NamedTuple):
  """What only the host knows of the images of a `Batch`, in the same order.

  Attributes:
    image_ids: [B] int64; -1 where the image only fills up the batch.
    original_sizes: [B, 2] int32 (height, width) of the image file.
    scales: [B] float32, network pixels per pixel of the file.
    dropped: [B] int32, instances left out of the batch, which holds `data.max_instances` of each
      image.
  """
  image_ids: Array
  original_sizes: Array
  scales: Array
  dropped: Array


class StageFeatures(NamedTuple):
  """The feature map that each kind of stage looks at: one and the same array if it is shared.

  Attributes:
    boxes: [h, w, K] for stage 1.
    masks: [h, w, K] for stages 2 and 4.
    categories: [h, w, K] for stages 3 and 5.
  """
  boxes: Array
  masks: Array
  categories: Array


class AnchorOutput(NamedTuple):
  """What stage 1 says of each anchor of one image.

  Attributes:
    anchors: [N, 4], N = H * W * A in the order row, column, anchor.
    objectness_logits: [N, 2] (background, object).
    box_deltas: [N, 4] (dx, dy, dw, dh) from the anchor.
    valid: [N] bool, False for anchors of cells that are not wholly inside the image.
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
    anchors: [R] int32, the row of `AnchorOutput` that a box came from; -1 for ground truth that
      joined, and in padding.
    truncated: [] int32, boxes that overlap no better one too much and were cut all the same, since
      `pre_nms` or R is too small for them (counted without regard to overlaps among them).
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
  """What votes on the instances of one image: the part of `StageOutput` that voting looks at.

  Those of several views or models follow each other in the frame of the network input.

  Attributes:
    boxes: [R, 4], may reach outside the image.
    valid: [R] bool.
    mask_logits: [R, M, M], class-agnostic, inside each box.
    category_logits: [R, C].
  """
  boxes: Array
  valid: Array
  mask_logits: Array
  category_logits: Array


class Instances(NamedTuple):
  """Object instances of one image, best first.

  Attributes:
    boxes: [D, 4] float32 pixels of the network input.
    labels: [D] int32, 1 ... C - 1; 0 in padding.
    scores: [D] float32; 0 in padding.
    masks: [D, M, M] float32 probabilities on a regular grid inside each box.
    valid: [D] bool.
  """
  boxes: Array
  labels: Array
  scores: Array
  masks: Array
  valid: Array
