"""From cascade outputs to instances."""

import jax

from mnc_jax.cascade import run_cascade
from mnc_jax.config import Config
from mnc_jax.ops.voting import vote_masks
from mnc_jax.structs import Instances, StageOutput


def predict(params, images, image_sizes, *, config: Config) -> Instances:
  """Finds the object instances in each image.

  Five stages whatever the training had: R proposals and the same R refined are all
  candidates; per category non-maximum suppression on their boxes chooses, and similar
  candidates vote on each chosen mask (paper, section 3.4; Dai et al.'s release).

  Args:
    params: from `init_params`.
    images: [B, H, W, 3] uint8 RGB, padded right and below.
    image_sizes: [B, 2] int32 (height, width) inside the padding.
    config: the experiment. Static under `jax.jit`.

  Returns:
    `Instances` with leading B, D = `config.inference.max_instances`, in pixels of the
    network input. An image in which nothing is found has `valid` False everywhere.
  """
  output = run_cascade(params, images, image_sizes, config=config)
  return jax.vmap(lambda one, size: select_instances(one, size, config=config))(
      output, image_sizes)


def select_instances(output: StageOutput, image_size, *, config: Config) -> Instances:
  """Chooses and votes on the instances of one image.

  Args:
    output: candidates of all stages, R rows.
    image_size: [2] int32 (height, width).
    config: the experiment.

  Returns:
    `Instances` [D].
  """
  options = config.inference
  return vote_masks(
      jax.nn.sigmoid(output.mask_logits), output.boxes,
      jax.nn.softmax(output.category_logits), nms_iou=options.nms_iou,
      similar_iou=options.similar_iou, max_instances=options.max_instances,
      height=image_size[0], width=image_size[1], valid=output.valid,
      mask_threshold=options.mask_threshold)
