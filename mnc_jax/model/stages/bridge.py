"""From a category stage to refined boxes: those of stage 4 (paper, section 3.4). No weights."""

import jax
import jax.numpy as jnp

from mnc_jax.config import ModelConfig
from mnc_jax.ops.boxes import clip_boxes, clip_corners, decode_boxes
from mnc_jax.structs import Array, StageOutput


def refine_boxes(output: StageOutput, image_size: Array, *, config: ModelConfig,
                 with_background: bool = False) -> jax.Array:
  """Moves each RoI by the box deltas of its best foreground category.

  Args:
    output: of stage 3.
    image_size: [2] int32 (height, width).
    config: the model.
    with_background: use the deltas of the best category even if that is the background,
      whose deltas are never trained, as the release does at test time.

  Returns:
    [R, 4] float32 boxes inside the image; an empty RoI stays empty, and padding gives finite
    boxes. Gradients flow into RoIs and deltas, not through the choice of the category.
  """
  first = 0 if with_background else 1
  best = first + jnp.argmax(output.category_logits[:, first:], axis=1)
  deltas = jnp.take_along_axis(output.box_deltas, best[:, None, None], axis=1)[:, 0]
  return _move(output.boxes, deltas, image_size, config)


def refine_by_category(output: StageOutput, image_size: Array, *, config: ModelConfig) -> jax.Array:
  """Moves each RoI by the box deltas of every category.

  Args:
    output: of stages 3 and 5.
    image_size: [2] int32 (height, width).
    config: the model.

  Returns:
    [R, C, 4] float32 boxes inside the image, as from `refine_boxes` if the column were the best.
    The deltas of background, column 0, are never trained.
  """
  boxes = jnp.broadcast_to(output.boxes[:, None], output.box_deltas.shape)
  return _move(boxes, output.box_deltas, image_size, config)


def _move(boxes, deltas, image_size, config):
  moved = decode_boxes(deltas, boxes, stds=config.box_delta_stds)
  clip = clip_corners if config.inclusive_corners else clip_boxes
  return clip(moved, image_size[0], image_size[1])
