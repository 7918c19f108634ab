"""Stage 1: class-agnostic boxes by a region proposal network (paper, section 3.1)."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from mnc_jax.config import ModelConfig, ProposalConfig
from mnc_jax.model.flax_modules import Conv, apply_module, init_module
from mnc_jax.ops.anchors import make_anchors
from mnc_jax.ops.boxes import as_float, clip_boxes, clip_corners, decode_boxes
from mnc_jax.ops.nms import greedy_nms
from mnc_jax.ops.padding import cells_inside
from mnc_jax.ops.sampling import top_indices
from mnc_jax.structs import AnchorOutput, Array, Proposals


class BoxStage(nn.Module):
  """A 3 x 3 convolution and two sibling 1 x 1 convolutions."""

  config: ModelConfig

  @nn.compact
  def __call__(self, features: Array) -> tuple[jax.Array, jax.Array]:
    """Maps [h, w, K] to objectness logits [h, w, A * 2] and box deltas [h, w, A * 4]."""
    config, dtype = self.config, jnp.dtype(self.config.compute_dtype)
    anchors = len(config.anchor_scales) * len(config.anchor_ratios)
    conv = functools.partial(Conv, kernel_init=nn.initializers.normal(0.01))
    x = conv(config.box_stage_width, (3, 3), dtype=dtype, name="conv")(features)
    if config.normalize:
      x = nn.LayerNorm(dtype=dtype, name="norm")(x)
    x = nn.relu(x)
    # In the dtype of their parameters: bfloat16 would round logits and deltas to 8 bits.
    return (conv(anchors * 2, (1, 1), name="objectness")(x),
            conv(anchors * 4, (1, 1), name="box_deltas")(x))


def init_box_stage(key: jax.Array, config: ModelConfig, channels: int) -> dict:
  """Returns fresh parameters of stage 1, normal(.01) as in the release, for K = `channels`."""
  return init_module(BoxStage(config), key, jnp.zeros((2, 2, channels)))


def score_anchors(params: dict, features: Array, image_size: Array, *, stride: int,
                  config: ModelConfig) -> AnchorOutput:
  """Scores and refines the anchors of one image.

  Args:
    params: from `init_box_stage`.
    features: [h, w, K] shared features.
    image_size: [2] int32 (height, width) in pixels.
    stride: pixels per feature cell.
    config: the model.

  Returns:
    `AnchorOutput`, N = h * w * A rows, float32.
  """
  height, width = features.shape[:2]
  objectness, deltas = apply_module(BoxStage(config), params, features)
  anchors = make_anchors(
      height, width, stride=stride, scales=config.anchor_scales, ratios=config.anchor_ratios)
  inside = cells_inside(image_size, stride, height, width, partial=config.partial_cells)
  return AnchorOutput(
      anchors=anchors.reshape(-1, 4),
      objectness_logits=as_float(objectness.reshape(-1, 2)),
      box_deltas=as_float(deltas.reshape(-1, 4)),
      valid=jnp.broadcast_to(inside[..., None], anchors.shape[:3]).reshape(-1))


def propose_boxes(output: AnchorOutput, image_size: Array, *, config: ProposalConfig,
                  inclusive_corners: bool = False) -> Proposals:
  """Turns scored anchors into the RoIs of stage 2.

  Decodes, clips, drops boxes with a side below `config.min_box_size`, takes the `config.pre_nms`
  best, and applies NMS (Ren et al. 2015, section 3.3).

  Args:
    output: from `score_anchors`.
    image_size: [2] int32 (height, width).
    config: fixes R = `num_proposals`.
    inclusive_corners: see `ModelConfig`.

  Returns:
    `Proposals`, all invalid if no anchor qualifies. Gradients flow from the chosen boxes into
    `output.box_deltas`, not through the choice.
  """
  boxes = decode_boxes(output.box_deltas, output.anchors)
  clip = clip_corners if inclusive_corners else clip_boxes
  boxes = clip(boxes, image_size[0], image_size[1])
  scores = jax.nn.softmax(output.objectness_logits)[:, 1]
  sides = jnp.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
  usable = output.valid & (sides >= config.min_box_size) & (sides > 0)
  best, best_valid = top_indices(
      jnp.where(usable, scores, -jnp.inf), min(config.pre_nms, len(scores)))
  kept = greedy_nms(
      boxes[best], scores[best], iou_threshold=config.nms_iou,
      max_outputs=config.num_proposals, valid=best_valid, presorted=True)
  chosen, valid = best[kept.indices], kept.valid
  beyond_pre_nms = usable.sum(dtype=jnp.int32) - best_valid.sum(dtype=jnp.int32)
  return Proposals(
      boxes=jnp.where(valid[:, None], boxes[chosen], 0.0),
      scores=jnp.where(valid, scores[chosen], 0.0),
      valid=valid,
      anchors=jnp.where(valid, chosen, -1),
      truncated=kept.truncated + beyond_pre_nms)
