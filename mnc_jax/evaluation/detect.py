"""Finds the instances of photographs, in pixels of the image."""

from collections.abc import Sequence
import dataclasses
import os
from typing import Literal, overload
import warnings

import numpy as np

from mnc_jax.config.validation import check_overrides, check_values
from mnc_jax.data.contrast import describe_range
from mnc_jax.data.images import image_options
from mnc_jax.data.user_images import to_rgb
from mnc_jax.evaluation.predict_image import find_instances
from mnc_jax.evaluation.results import clip_to_image, paste_binary, take_rows
from mnc_jax.evaluation.tiles.plan import describe_tiles
from mnc_jax.model.trained import Model, check_members
from mnc_jax.structs import Array, Detections

# Of the masks of one image at its own size; 500 of 24 megapixels would take three times as much.
_MOST_MASK_BYTES = 2 ** 32

Image = str | os.PathLike | np.ndarray | Array


@overload
def detect(model: Model | Sequence[Model], image: Image, *, min_score: float = ...,
           flip: bool | None = ..., scales: Sequence[float] | None = ...,
           nms: Literal["greedy", "soft"] | None = ...,
           soft_nms_sigma: float | None = ..., max_shrink: float | None = ...) -> Detections: ...
@overload
def detect(model: Model | Sequence[Model], image: Sequence[Image], *, min_score: float = ...,
           flip: bool | None = ..., scales: Sequence[float] | None = ...,
           nms: Literal["greedy", "soft"] | None = ...,
           soft_nms_sigma: float | None = ..., max_shrink: float | None = ...
           ) -> list[Detections]: ...
def detect(model: Model | Sequence[Model], image: Image | Sequence[Image], *,
           min_score: float = 0.5, flip: bool | None = None, scales: Sequence[float] | None = None,
           nms: Literal["greedy", "soft"] | None = None,
           soft_nms_sigma: float | None = None, max_shrink: float | None = None
           ) -> Detections | list[Detections]:
  """Finds the object instances in an image, or in each of a list of images.

  Args:
    model: from `load`; or several, whose candidates vote together (as `predict_ensemble`). Then
      sizes of images, category ids and voting are those of the first.
    image: path, read upright as viewers show it (EXIF orientation), unless `config.data.exif` of
      the model says otherwise; or [h, w, 3] RGB, uint8 or uint16; or a list of these. Images
      of any size are scaled and padded to `config.data` of the model: one compilation for each
      bucket and set of options, kept between calls (and one for tiles).
    min_score: instances that score less are dropped. Replaces `config.inference.min_score`; .5 is
      what `mnc predict` draws from.
    flip: detect in the mirrored image too. None, here and below: as in `config.inference`.
    scales: detect in the image at these factors of the network input.
    nms: "greedy", or "soft" for soft-NMS.
    soft_nms_sigma: of soft-NMS; the smaller, the more an overlap costs.
    max_shrink: an image that would be shrunk by more than this is also run in overlapping tiles,
      which are shrunk by no more, `config.data.eval_batch_size` of them at a time: so small objects
      of large images are found. 0: no image is. Large objects are found in coarser tiles.

  Returns:
    `Detections` in pixels of the image, or a list of them. Instances of whose mask no pixel of the
    image exceeds `config.inference.mask_threshold` are dropped. Nothing found: n = 0.

  Warns:
    UserWarning: for the first image that is run in tiles because of the model's config, not of
      `max_shrink`; that may have more instances of `min_score` (above 0) than
      `config.inference.max_instances` and `num_proposals` allow; that uses less than a quarter of
      its range of intensities, as 12 bits in 16 do, if the model does not stretch contrast.

  Raises:
    ValueError: for an array that is not uint8 RGB, with the expression that makes it so; for a file
      that cannot be read or does not fit into memory (`BrokenImageError`); for options without
      effect; for models that cannot vote together; for masks of more than 4 GiB together.
    TypeError: for anything that is neither a path nor an array, or no model.

  Example:
    >>> import mnc_jax
    >>> from mnc_jax.data.readers.drawing import draw_image
    >>> model = mnc_jax.load("shapes")
    >>> image = draw_image(1, 1).image  # [128, 128, 3] uint8 RGB.
    >>> found = mnc_jax.detect(model, image)
    >>> found.names, found.masks.shape
    (('triangle', 'ring'), (2, 128, 128))
    >>> found.scores.round(1)
    array([1., 1.], dtype=float32)
  """
  models = _with_options(
      _as_sequence(model), flip=flip, scales=None if scales is None else tuple(scales), nms=nms,
      soft_nms_sigma=soft_nms_sigma, max_shrink=max_shrink)
  if not 0 <= min_score <= 1:
    raise ValueError(f"min_score is {min_score}: it must be from 0 to 1")
  listed = isinstance(image, list | tuple)
  named = ([(one, f"image {index} of the list") for index, one in enumerate(image)] if listed
           else [(image, "the image")])
  dark, tiled, limited, found = [], [], [], []
  for one, name in named:
    pixels = to_rgb(one, name, options=image_options(models[0].config.data))
    dark += filter(None, [describe_range(pixels, name, models[0].config.data)])
    if max_shrink is None:
      tiled += filter(None, [describe_tiles(pixels.shape[:2], name, models[0].config)])
    found.append(_detect(models, pixels, min_score, name, limited.append))
  for messages in (dark, tiled, limited):
    if messages:
      warnings.warn(messages[0], stacklevel=2)
  return found if listed else found[0]


def _as_sequence(model) -> Sequence[Model]:
  models = (model,) if isinstance(model, Model) else model
  if not isinstance(models, list | tuple) or not models or not all(
      isinstance(one, Model) for one in models):
    raise TypeError(f"the first argument of detect is a {type(model).__name__}: give a model of "
                    "mnc_jax.load, or a list of them")
  check_members(models, [f"model {index} of the list" for index in range(len(models))])
  return models


def _with_options(models, **options):
  """Returns the models with those options of inference that are not None."""
  options = {name: value for name, value in options.items() if value is not None}
  changed = []
  for model in models:
    config = dataclasses.replace(
        model.config, inference=dataclasses.replace(model.config.inference, **options))
    check_values(config)
    check_overrides(model.config, config)
    # The caller's bound is applied to the result, so that another one is no other program.
    changed.append(model._replace(config=dataclasses.replace(
        config, inference=dataclasses.replace(config.inference, min_score=0.0))))
  return changed


def _detect(models, image, min_score, name, warn):
  size, threshold = image.shape[:2], models[0].config.inference.mask_threshold
  found = find_instances(models, image, name=name, min_score=min_score, warn=warn)
  found = take_rows(found, found.scores >= min_score)
  pasted = [paste_binary(mask, box, size, threshold)
            for mask, box in zip(found.masks, found.paste_boxes, strict=True)]
  kept = np.array([inside.any() for _, inside in pasted], bool)
  masks = _make_masks(int(kept.sum()), size)
  for whole, row in zip(masks, np.flatnonzero(kept), strict=True):
    window, inside = pasted[row]
    whole[window] = inside
  labels, scores = np.asarray(found.labels)[kept], np.asarray(found.scores)[kept]
  return Detections(
      clip_to_image(found.boxes[kept], size).astype(np.float32), masks, scores, labels,
      tuple(models[0].category_names[label - 1] for label in labels))


def _make_masks(count, size):
  if count * size[0] * size[1] > _MOST_MASK_BYTES:
    raise ValueError(
        f"{count} masks of {size[1]} x {size[0]} pixels would take "
        f"{count * size[0] * size[1] / 1e9:.1f} GB: raise min_score, or let mnc predict write them "
        "run-length encoded (in a program: find_instances and instances_to_records)")
  return np.zeros((count, *size), bool)
