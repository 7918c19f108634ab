"""From cascade outputs to instances."""

from collections.abc import Sequence
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mnc_jax.config import Config
from mnc_jax.model.cascade import run_and_count
from mnc_jax.model.test_time_augmentation import make_views, restore_candidates
from mnc_jax.ops.voting import vote_and_count
from mnc_jax.structs import Array, Candidates, Instances


def predict(params, images, image_sizes, *, config: Config) -> Instances:
  """Finds the object instances in each image.

  Five stages whatever the training had: R proposals and the same R refined are all
  candidates, in every view that `config.inference` asks for; per category non-maximum
  NMS on their boxes chooses, and similar candidates vote on each chosen mask
  (paper, section 3.4; Dai et al.'s release).

  Args:
    params: from `init_params`.
    images: [B, H, W, 3] uint8 RGB, padded right and below.
    image_sizes: [B, 2] int32 (height, width) inside the padding.
    config: the experiment. Static under `jax.jit`.

  Returns:
    `Instances` with leading B, D = `config.inference.max_instances`, in pixels of the
    network input.

  Degenerate input:
    An image in which nothing is found, or of size (0, 0), has `valid` False everywhere.

  Gradient:
    None flows: instances are chosen.

  Example:
    >>> import functools
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import mnc_jax
    >>> from mnc_jax.config import Config, ModelConfig
    >>> config = Config(model=ModelConfig(num_categories=3, backbone="small", dense_width=8))
    >>> init = jax.jit(mnc_jax.init_params, static_argnames="config")
    >>> params = init(jax.random.key(0), config=config)
    >>> images, sizes = jnp.zeros((2, 64, 64, 3), jnp.uint8), jnp.array([[64, 64], [0, 0]])
    >>> find = jax.jit(functools.partial(mnc_jax.predict, config=config))
    >>> found = find(params, images, sizes)
    >>> found.masks.shape, found.valid[1].sum().item()
    ((2, 100, 28, 28), 0)
  """
  return predict_ensemble((params,), images, image_sizes, configs=(config,))


def predict_ensemble(models, images, image_sizes, *, configs: Sequence[Config]) -> Instances:
  """Finds the object instances in each image by several models, as `predict` does by one.

  The candidates of all models, each with its own proposals and views, are merged; the
  NMS and the voting are those of the first config.

  Args:
    models: sequence of parameter trees from `init_params`.
    images: [B, H, W, 3] uint8 RGB, padded right and below.
    image_sizes: [B, 2] int32 (height, width) inside the padding.
    configs: one of each model, in the same order. Static under `jax.jit`.

  Returns:
    `Instances` with leading B, as from `predict`.

  Degenerate input:
    As of `predict`. A model without a valid proposal changes nothing that the others find.

  Gradient:
    None flows: instances are chosen.

  Raises:
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
  return predict_and_count(models, images, image_sizes, configs=configs)[0]


class LeftOut(NamedTuple):
  """What found no place in the static shapes of inference, by image.

  Attributes:
    proposals: [B] int32, as `Proposals.truncated`, of all views and models together.
    instances: [B] int32, beyond `config.inference.max_instances`; see `vote_and_count`.
  """
  proposals: Array
  instances: Array


def predict_and_count(models, images, image_sizes, *, configs: Sequence[Config]):
  """Finds instances as `predict_ensemble` does, and counts what found no place.

  Arguments and errors are those of `predict_ensemble`.

  Returns:
    `(instances, left_out)`: its result, and a `LeftOut`.
  """
  check_ensemble(configs)
  if len(models) != len(configs):
    raise ValueError(f"{len(models)} models with {len(configs)} configs: give one config a model")
  found, truncated = zip(*(find_and_count(params, images, image_sizes, config=config)
                           for params, config in zip(models, configs, strict=True)), strict=True)
  vote = functools.partial(_vote, config=configs[0])
  instances, dropped = jax.vmap(vote)(_merge(found), image_sizes)
  return instances, LeftOut(sum(truncated), dropped)


def check_ensemble(configs: Sequence[Config]) -> None:
  """Refuses models whose candidates cannot be merged.

  Args:
    configs: one of each model.

  Raises:
    ValueError: if there is none, or two differ in the number of categories or the mask size,
      naming both.
  """
  if not configs:
    raise ValueError("an ensemble needs one model at least, found none")
  for field in ("num_categories", "mask_size"):
    first, *others = (getattr(config.model, field) for config in configs)
    for number, other in enumerate(others, start=2):
      if other != first:
        raise ValueError(
            f"model.{field} of model {number} of the ensemble is {other}, but that of the first "
            f"is {first}: only models that agree in it can vote together")


def find_candidates(params, images, image_sizes, *, config: Config) -> Candidates:
  """Runs the cascade on every view of each image.

  Args:
    params: from `init_params`.
    images: [B, H, W, 3] uint8 RGB.
    image_sizes: [B, 2] int32.
    config: the experiment.

  Returns:
    `Candidates` with leading [B, V * 2R] in pixels of the network input, V views after each
    other.
  """
  return find_and_count(params, images, image_sizes, config=config)[0]


def find_and_count(params, images, image_sizes, *, config: Config):
  """Runs the cascade as `find_candidates` does, and counts the proposals that were cut.

  Arguments are those of `find_candidates`.

  Returns:
    `(candidates, truncated)`: its result, and [B] int32, of all views together.
  """
  found, truncated = [], 0
  for view in make_views(images, image_sizes, config=config):
    output, cut = run_and_count(params, view.images, view.image_sizes, config=config)
    found.append(restore_candidates(output, image_sizes, view))
    truncated += cut
  return _merge(found), truncated


def _merge(candidates):
  """Returns the `Candidates` [B, R], [B, S], ... of the same images as one, [B, R + S + ...]."""
  return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *candidates)


def select_instances(candidates: Candidates, image_size, *, config: Config) -> Instances:
  """Chooses and votes on the instances of one image.

  Args:
    candidates: of all stages, views and models, R rows.
    image_size: [2] int32 (height, width).
    config: the experiment.

  Returns:
    `Instances` [D].
  """
  return _vote(candidates, image_size, config=config)[0]


def _vote(candidates, image_size, *, config):
  options = config.inference
  return vote_and_count(
      jax.nn.sigmoid(candidates.mask_logits), candidates.boxes,
      jax.nn.softmax(candidates.category_logits), nms_iou=options.nms_iou,
      similar_iou=options.similar_iou, max_instances=options.max_instances,
      height=image_size[0], width=image_size[1], valid=candidates.valid,
      mask_threshold=options.mask_threshold, nms=options.nms,
      soft_nms_sigma=options.soft_nms_sigma, min_score=options.min_score)
