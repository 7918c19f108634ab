"""The cascade: image -> features -> boxes -> masks -> categories (-> bridge -> again).

This module alone fixes the order of the stages, and holds the `vmap` over the images.
"""

import functools

import jax
import jax.numpy as jnp

from mnc_jax.config import Config
from mnc_jax.model import losses, matching, roi_targets
from mnc_jax.model.anchor_targets import anchor_targets, force_anchors
from mnc_jax.model.batch_checks import check_batch, nan_of_wrong_labels
from mnc_jax.model.forward import extract_stage_features, mask_and_classify, score_anchors
from mnc_jax.model.shared_kernels import fill_slots, slots_of_rounds
from mnc_jax.model.stages import box_stage, bridge
from mnc_jax.ops.gradients import clip_gradient
from mnc_jax.structs import Array, Batch, GroundTruth, Proposals, StageOutput


def _next_stage_boxes(boxes, *, config: Config):
  """Returns `boxes`, with the gradient stopped if `model.box_gradient` is off."""
  # "Not end to end" (paper, section 4.1): later stages cannot move a box.
  return boxes if config.model.box_gradient else jax.lax.stop_gradient(boxes)


def _clip_box_gradient(output, num_images, *, config: Config):
  """Clips the gradient that later stages send into the box deltas of `output`.

  The result is only used to make the next boxes, so the stage's own loss is not clipped (release).
  """
  largest = config.model.box_gradient_clip
  if not largest:
    return output
  # The batch's loss is a mean, so each image's gradient comes back divided by their number.
  return output._replace(box_deltas=clip_gradient(output.box_deltas, largest / num_images))


def _stage_losses(output: StageOutput, ground_truth: GroundTruth, *, config: Config):
  """Weighted losses of stages 2 and 3 (or 4 and 5) on one image."""
  targets = roi_targets.roi_targets(output.boxes, output.valid, ground_truth, config=config)
  mask_labels = roi_targets.mask_level_labels(
      targets, output.mask_logits, output.boxes, config=config.train)
  mask_loss, category_loss = (losses.find_loss(stage, config.train)
                              for stage in ("mask", "category"))
  return (config.train.weight_mask * mask_loss(output.mask_logits, targets),
          config.train.weight_category * category_loss(output, targets, mask_labels))


def _over_images(one_image):
  """Returns `one_image` over a leading axis B of its arguments and results."""
  def over_images(*arguments):
    count = arguments[0].boxes.shape[0]
    if jax.export.is_symbolic_dim(count) or count > 1:
      return jax.vmap(one_image)(*arguments)
    # XLA's CPU backend takes 15 times as long for a sum of products whose first axis has size 1.
    only = jax.tree.map(lambda leaf: leaf[0], arguments)
    return jax.tree.map(lambda leaf: leaf[None], one_image(*only))
  return over_images


def _image_losses(params, image_features, image_size, ground_truth: GroundTruth, key, slots, *,
                  num_images, config: Config):
  """Returns the weighted losses {"loss_1": ...} of one image, and the numbers of its proposals."""
  key_anchors, key_rois = jax.random.split(key)
  clip_box_gradient = functools.partial(_clip_box_gradient, num_images=num_images, config=config)

  def run_two_stages(boxes, valid, slots):
    with fill_slots(params, slots) as filled:
      output = mask_and_classify(
          filled, image_features, _next_stage_boxes(boxes, config=config), valid, config=config,
          image_size=image_size)
    return output, *_stage_losses(output, ground_truth, config=config)

  anchors = score_anchors(params, image_features, image_size, config=config)
  proposals = box_stage.propose_boxes(
      clip_box_gradient(anchors), image_size, config=config.train.proposals,
      inclusive_corners=config.model.inclusive_corners)
  rois = roi_targets.sample_rois(proposals, ground_truth, key_rois, config=config.train)
  terms = {"loss_1": _anchor_loss(
      anchors, rois, ground_truth, image_size, key_anchors, config=config.train)}
  output, terms["loss_2"], terms["loss_3"] = run_two_stages(rois.boxes, rois.valid, slots[0])
  if config.train.num_stages == 5:
    boxes = bridge.refine_boxes(clip_box_gradient(output), image_size, config=config.model)
    valid = rois.valid
    if config.train.gt_in_stage_4:
      boxes, valid = matching.join_ground_truth(boxes, valid, ground_truth)
    _, terms["loss_4"], terms["loss_5"] = run_two_stages(boxes, valid, slots[1])
  return terms, {"proposals_per_image": proposals.valid.sum(),
                 "truncated_proposals_per_image": proposals.truncated}


def _anchor_loss(anchors, rois, ground_truth, image_size, key, *, config):
  """Weighted loss of stage 1 on one image."""
  targets = anchor_targets(anchors, ground_truth, image_size, key, config=config)
  if config.force_roi_anchors:
    targets = force_anchors(targets, anchors, rois, ground_truth, image_size, config=config)
  return config.weight_box * losses.find_loss("box", config)(anchors, targets)


def _pad_no_instances(ground_truth):
  """Returns ground truth with room for one instance, if it has none, as matching needs."""
  if ground_truth.boxes.shape[1]:
    return ground_truth
  add = lambda x: jnp.pad(x, [(0, 0), (0, 1), *[(0, 0)] * (x.ndim - 2)])
  return ground_truth._replace(**{
      name: add(getattr(ground_truth, name)) for name in ground_truth._fields
      if name != "ignored_boxes"})


def cascade_loss(params: dict, batch: Batch, key: Array, *,
                 config: Config) -> tuple[Array, dict[str, Array]]:
  """Returns the loss of all stages, L1 + L2 + L3 (+ L4 + L5) (paper, equations 1 and 6).

  Args:
    params: from `init_params`.
    batch: images and their ground truth.
    key: random key of the sampling of anchors and RoIs.
    config: the experiment.

  Returns:
    `(loss, metrics)`: the mean over the images that are not padding, and a dict of `loss`, each
    stage's weighted `loss_1` ... `loss_5` (without stages 4 and 5 their entries are absent), and
    the means `proposals_per_image` and `truncated_proposals_per_image` of `Proposals`. All are
    float32 scalars.

  Degenerate input:
    0 if all images are padding. An image without an instance has the losses of its negative
    anchors and RoIs; a stage without a positive RoI has no loss of masks and deltas. A batch may
    have room for no instance at all (boxes [B, 0, 4]). If the label of an instance is not 1 ...
    C - 1, the loss and those of the stages are NaN, with a gradient as if nothing was wrong.

  Gradient:
    Flows into all parameters: from L2 to L5 also through the coordinates of the boxes that
    earlier stages predict, and from L3 and L5 through the masks. Not through choices and targets.
    By reverse mode only: `jax.jvp` and `jax.jacfwd` raise a TypeError.

  Raises:
    AssertionError: if an array does not have the shape of its field of `Batch`, naming it.
    TypeError: if images are not uint8, or masks neither integers nor bools.

  Example:
    >>> import functools
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> from mnc_jax.config import Config, ModelConfig, TrainConfig
    >>> config = Config(model=ModelConfig(num_categories=3, backbone="small", dense_width=8),
    ...                 train=TrainConfig(num_stages=3))
    >>> batch = mnc_jax.Batch(
    ...     images=jnp.full((1, 64, 64, 3), 90, jnp.uint8), image_sizes=jnp.array([[64, 64]]),
    ...     boxes=jnp.array([[[8.0, 8.0, 40.0, 40.0]]]), labels=jnp.array([[1]]),
    ...     masks=jnp.ones((1, 1, 112, 112), jnp.uint8), areas=jnp.array([[1024.0]]),
    ...     crowd=jnp.array([[False]]), valid=jnp.array([[True]]))
    >>> params = jax.eval_shape(lambda key: mnc_jax.init_params(key, config), jax.random.key(0))
    >>> find_loss = functools.partial(mnc_jax.cascade_loss, config=config)
    >>> loss, metrics = jax.eval_shape(find_loss, params, batch, jax.random.key(1))
    >>> print(loss.shape, sorted(metrics)[:4])  # For numbers, see `train_step`.
    () ['loss', 'loss_1', 'loss_2', 'loss_3']
  """
  check_batch(batch)
  batch = jax.tree.map(jnp.asarray, batch)  # A row of numpy's cannot be chosen by a traced number.
  shared = extract_stage_features(params, batch.images, batch.image_sizes, config=config)
  keys = jax.random.split(key, batch.images.shape[0])
  one_image = functools.partial(
      _image_losses, params, num_images=jnp.maximum(batch.real.sum(), 1), config=config)
  ground_truth = _pad_no_instances(batch.ground_truth)
  slots = slots_of_rounds(params, ground_truth, config=config)
  terms, counts = _over_images(one_image)(shared, batch.image_sizes, ground_truth, keys, slots)
  mean = lambda values: losses.masked_mean(values, batch.real)
  # Added, because that changes no gradient and no other number.
  fault = nan_of_wrong_labels(batch, config.model.num_categories)
  metrics: dict[str, Array] = {name: mean(term + fault) for name, term in terms.items()}
  loss = functools.reduce(jnp.add, metrics.values())
  counts = {name: mean(count.astype(loss.dtype)) for name, count in counts.items()}
  return loss, metrics | counts | {"loss": loss}


def run_cascade(params: dict, images: Array, image_sizes: Array, *,
                config: Config) -> tuple[Proposals, StageOutput]:
  """Runs all five stages without ground truth (paper, section 3.4, "inference").

  Args:
    params: from `init_params`.
    images: [B, H, W, 3] RGB from 0 to 255, uint8 or float32.
    image_sizes: [B, 2] int32.
    config: the experiment; `config.inference` fixes the counts.

  Returns:
    `(proposals, output)`: `Proposals` with leading B, and `StageOutput` with leading [B, 2R]: R
    RoIs of stages 2 and 3, then the same RoIs refined, of stages 4 and 5.
  """
  shared = extract_stage_features(params, images, image_sizes, config=config)
  one_image = functools.partial(_run_image, params, config=config)
  return _over_images(one_image)(shared, image_sizes)


def _run_image(params, image_features, image_size, *, config: Config):
  inference = config.inference
  run_roi_heads = functools.partial(
      mask_and_classify, params, image_features, config=config, image_size=image_size)
  anchors = score_anchors(params, image_features, image_size, config=config)
  rois = box_stage.propose_boxes(
      anchors, image_size, config=inference.proposals,
      inclusive_corners=config.model.inclusive_corners)
  first = run_roi_heads(rois.boxes, rois.valid)
  boxes = bridge.refine_boxes(first, image_size, config=config.model,
                              with_background=inference.release_bridge)
  second = run_roi_heads(boxes, rois.valid, samples=inference.refined_roi_pool)
  return rois, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)
