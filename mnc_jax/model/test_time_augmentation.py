"""Test-time augmentation: mirrored and scaled views, and candidates mapped back from them."""

import functools
import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from mnc_jax.config import Config, ModelConfig
from mnc_jax.model.backbones.features import make_backbone
from mnc_jax.model.stages.bridge import refine_by_category
from mnc_jax.ops.boxes import as_float
from mnc_jax.ops.padding import cells_inside
from mnc_jax.structs import Array, Candidates, StageOutput


class View(NamedTuple):
  """A batch of images for one forward pass, and how it was made from the network input.

  Attributes:
    images: [B, H', W', 3] RGB from 0 to 255, zero outside each image.
    image_sizes: [B, 2] int32 (height, width) inside the padding.
    factor: pixels of the view per pixel of the network input.
    mirrored: left to right.
  """
  images: Array
  image_sizes: Array
  factor: float
  mirrored: bool


def make_views(images: Array, image_sizes: Array, *, config: Config) -> list[View]:
  """Returns the views of `config.inference`, of each scale the mirrored one last.

  Args:
    images: [B, H, W, 3] uint8 RGB, zero outside each image.
    image_sizes: [B, 2] int32 (height, width).
    config: the experiment.

  Returns:
    A `View` for each factor in `scales`, two with `flip`. At factor 1 the images are unchanged;
    else their padded sides are rounded up to a multiple that the backbone needs.
  """
  inference, multiple = config.inference, make_backbone(config.model).multiple
  versions = [(images, False)]
  if inference.flip:
    versions.append((mirror_images(images, image_sizes), True))
  views = []
  for factor in inference.scales:
    for version, mirrored in versions:
      pixels, sizes = scale_images(version, image_sizes, factor=factor, multiple=multiple)
      views.append(View(pixels, sizes, factor, mirrored))
  return views


def mirror_images(images: Array, image_sizes: Array) -> jax.Array:
  """Mirrors each image left to right inside its own width; the padding stays on the right.

  Args:
    images: [B, H, W, 3].
    image_sizes: [B, 2] int32 (height, width).

  Returns:
    [B, H, W, 3] of the same dtype, zero from each image's width on.
  """
  chex.assert_rank([images, image_sizes], [4, 2])
  columns = jnp.arange(images.shape[2])

  def mirror(image, size):
    inside = columns < size[1]
    mirrored = image[:, jnp.where(inside, size[1] - 1 - columns, 0)]
    return jnp.where(inside[None, :, None], mirrored, jnp.zeros_like(mirrored))

  return jax.vmap(mirror)(images, image_sizes)


def scale_images(images: Array, image_sizes: Array, *, factor: float,
                 multiple: int) -> tuple[Array, Array]:
  """Scales each image by one factor, linearly, with antialiasing when shrinking.

  Position x of the image maps to x * factor exactly. The edge pixels are repeated into the
  padding first, so that neither padding nor bucket changes the result.

  Args:
    images: [B, H, W, 3] with pixels from 0 to 255.
    image_sizes: [B, 2] int32 (height, width).
    factor: above 0, static. 1 returns the arguments, whatever the multiple.
    multiple: the sides of the new padded images are rounded up to multiples of it.

  Returns:
    images: [B, H', W', 3] float32, zero outside each image. Not rounded: rounding would turn
      differences in the last bit between devices into whole grey levels.
    image_sizes: [B, 2] int32, round(size * factor), half to even; (0, 0) stays (0, 0).
  """
  chex.assert_rank([images, image_sizes], [4, 2])
  if factor == 1:
    return images, image_sizes
  padded = tuple(_padded_side(side, factor, multiple) for side in images.shape[1:3])
  sizes = jnp.round(image_sizes * jnp.float32(factor)).astype(jnp.int32)
  # A shrinking kernel reads 1 / factor pixels to each side.
  margin = math.ceil(max(1 / factor, 1.0)) + 1

  def scale(image, size, new_size):
    bordered = _continue_edges(image, size, margin).astype(jnp.float32)
    scaled = jax.image.scale_and_translate(
        bordered, (*padded, image.shape[2]), (0, 1), jnp.full(2, factor, jnp.float32),
        jnp.full(2, -margin * factor, jnp.float32), "linear", antialias=True)
    return jnp.where(cells_inside(new_size, 1, *padded)[..., None], scaled, 0.0)

  return jax.vmap(scale)(images, image_sizes, sizes), sizes


def restore_candidates(output: StageOutput, image_sizes: Array, view: View, *,
                       config: ModelConfig) -> Candidates:
  """Maps the cascade's output for a view back to the network input.

  Args:
    output: with leading [B, R], boxes in pixels of the view.
    image_sizes: [B, 2] int32 (height, width) of the network input, not of the view.
    view: of the output.
    config: the model, whose box deltas move the boxes once more, in the view.

  Returns:
    `Candidates` with leading [B, R]. Boxes are divided by the factor, then mirrored in
    the image's width; masks are mirrored. Boxes may reach up to half a pixel of the view
    outside the image, because the sides of the view are whole pixels.
  """
  refined = jax.vmap(functools.partial(refine_by_category, config=config))(
      output, view.image_sizes)
  boxes, refined = (_restore_boxes(x, image_sizes, view) for x in (output.boxes, refined))
  masks = output.mask_logits[..., ::-1] if view.mirrored else output.mask_logits
  return Candidates(boxes, output.valid, masks, output.category_logits, refined)


def _restore_boxes(boxes, image_sizes, view):
  """Maps boxes [B, ..., 4] of a view back to the network input."""
  boxes = as_float(boxes)
  if view.factor != 1:
    boxes = boxes / view.factor
  if not view.mirrored:
    return boxes
  x1, y1, x2, y2 = jnp.moveaxis(boxes, -1, 0)
  width = image_sizes[:, 1].astype(boxes.dtype).reshape(-1, *[1] * (x1.ndim - 1))
  return jnp.stack([width - x2, y1, width - x1, y2], axis=-1)


def _padded_side(side, factor, multiple):
  # Rounded like the image sizes, so that an image that fills its bucket also fits here.
  scaled = int(np.round(np.float32(side) * np.float32(factor)))
  return max(-(-scaled // multiple), 1) * multiple


def _continue_edges(image, size, margin):
  """Returns an image whose edge pixels are repeated: `margin` before it, and all after it."""
  rows, columns = (
      jnp.clip(jnp.arange(-margin, side + margin), 0, jnp.maximum(inside - 1, 0))
      for side, inside in zip(image.shape[:2], size, strict=True))
  return image[rows][:, columns]
