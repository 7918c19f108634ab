"""From images to instances: the cascade on every view of every model, then mask voting."""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp

from mnc_jax.config import Config
from mnc_jax.model.batch_checks import check_images, check_sizes
from mnc_jax.model.cascade import run_cascade
from mnc_jax.model.test_time_augmentation import make_views, restore_candidates
from mnc_jax.ops.voting import vote_masks
from mnc_jax.structs import Array, Candidates, Instances


def predict(params: dict, images: Array, image_sizes: Array, *, config: Config) -> Instances:
  """Predicts the object instances in each image.

  Runs all five stages even if training had three: R proposals and the same R refined are all
  candidates, in every view of `config.inference`; per category NMS chooses among their boxes, and
  similar candidates vote on each chosen mask (paper, section 3.4; Dai et al.'s release), and on its
  box unless `config.inference.boxes` is "mask".

  Args:
    params: from `init_params`.
    images: [B, H, W, 3] uint8 RGB, padded right and below.
    image_sizes: [B, 2] int32 (height, width) inside the padding.
    config: the experiment. Static under `jax.jit`.

  Returns:
    `Instances` with leading B, D = `config.inference.max_instances`, in pixels of the
    network input.

  Degenerate input:
    An image without a detection, or of size (0, 0), has `valid` False everywhere.

  Gradient:
    Not differentiable.

  Raises:
    TypeError: if the images are not uint8.

  Example:
    >>> import functools
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> from mnc_jax.config import Config, ModelConfig
    >>> model = ModelConfig(num_categories=3, backbone="small", backbone_widths=(8, 8),
    ...                     box_stage_width=8, mask_hidden=8, dense_width=8)
    >>> config = Config(model=model)
    >>> init = jax.jit(mnc_jax.init_params, static_argnames="config")
    >>> params = init(jax.random.key(0), config=config)
    >>> images, sizes = jnp.zeros((2, 64, 64, 3), jnp.uint8), jnp.array([[64, 64], [0, 0]])
    >>> find = jax.jit(functools.partial(mnc_jax.predict, config=config))
    >>> found = find(params, images, sizes)
    >>> found.masks.shape, found.valid[1].sum().item()
    ((2, 100, 28, 28), 0)
  """
  return predict_ensemble((params,), images, image_sizes, configs=(config,))


def predict_ensemble(models: Sequence[dict], images: Array, image_sizes: Array, *,
                     configs: Sequence[Config]) -> Instances:
  """Predicts the object instances in each image by several models together.

  The candidates of all models, each with its own proposals and views, are merged; the options of
  NMS and voting are those of the first config.

  Args:
    models: parameter trees from `init_params`.
    images: [B, H, W, 3] uint8 RGB, padded right and below.
    image_sizes: [B, 2] int32 (height, width) inside the padding.
    configs: one per model, in the same order. Static under `jax.jit`.

  Returns:
    `Instances` with leading B, as from `predict`.

  Degenerate input:
    As of `predict`. A model without a valid proposal does not change the result of the others.

  Gradient:
    Not differentiable.

  Raises:
    TypeError: if the images are not uint8.
    ValueError: if the numbers of models and configs differ or are 0, or two models differ in
      the number of categories or the mask size, naming both.

  Example:
    >>> import functools
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> from mnc_jax.config import Config, ModelConfig
    >>> config = Config(model=ModelConfig(num_categories=3, backbone="small", dense_width=8))
    >>> params = jax.eval_shape(lambda key: mnc_jax.init_params(key, config), jax.random.key(0))
    >>> images, sizes = jnp.zeros((1, 64, 64, 3), jnp.uint8), jnp.array([[64, 64]])
    >>> find = functools.partial(mnc_jax.predict_ensemble, configs=(config, config))
    >>> found = jax.eval_shape(find, (params, params), images, sizes)
    >>> found.boxes.shape
    (1, 100, 4)
  """
  check_ensemble(configs)
  if len(models) != len(configs):
    raise ValueError(f"{len(models)} models with {len(configs)} configs: pass one config per model")
  check_images(images)
  check_sizes(images, image_sizes)
  views, truncated = [], 0
  for params, config in zip(models, configs, strict=True):
    for view in make_views(images, image_sizes, config=config):
      proposals, output = run_cascade(params, view.images, view.image_sizes, config=config)
      views.append(restore_candidates(output, image_sizes, view, config=config.model))
      truncated += proposals.truncated
  candidates = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *views)
  vote = functools.partial(select_instances, config=configs[0])
  return jax.vmap(vote)(candidates, image_sizes)._replace(truncated_proposals=truncated)


def check_ensemble(configs: Sequence[Config]) -> None:
  """Raises if candidates of the models cannot be merged.

  Args:
    configs: one per model.

  Raises:
    ValueError: if there is none, or two differ in the number of categories or the mask size,
      naming both.
  """
  if not configs:
    raise ValueError("an ensemble needs at least one model, found none")
  for field in ("num_categories", "mask_size"):
    first, *others = (getattr(config.model, field) for config in configs)
    for number, other in enumerate(others, start=2):
      if other != first:
        raise ValueError(
            f"model.{field} of model {number} of the ensemble is {other}, but that of the first "
            f"is {first}: only models with the same value can vote together")


def select_instances(candidates: Candidates, image_size: Array, *, config: Config) -> Instances:
  """Chooses and votes on the instances of one image.

  Args:
    candidates: of all stages, views and models, R rows.
    image_size: [2] int32 (height, width).
    config: the experiment.

  Returns:
    `Instances`, D rows.
  """
  inference = config.inference
  return vote_masks(
      jax.nn.sigmoid(candidates.mask_logits), candidates.boxes,
      jax.nn.softmax(candidates.category_logits), nms_iou=inference.nms_iou,
      similar_iou=inference.similar_iou, max_instances=inference.max_instances,
      height=image_size[0], width=image_size[1], valid=candidates.valid,
      mask_threshold=inference.mask_threshold, nms=inference.nms,
      soft_nms_sigma=inference.soft_nms_sigma, min_score=inference.min_score,
      refined_boxes=candidates.refined_boxes if inference.boxes == "regressed" else None)
