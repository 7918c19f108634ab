"""What the cascade demands of its input. Shapes and dtypes are compared while it is traced."""

import chex
import jax
import jax.numpy as jnp

from mnc_jax.structs import MASK_SIDE, Array, Batch


def check_images(images: Array, *, name: str = "images") -> None:
  """Raises TypeError unless images are uint8: of any other range nothing would be found."""
  if images.dtype != jnp.uint8:
    raise TypeError(f"{name} are {images.dtype}, must be uint8 RGB from 0 to 255: convert numbers "
                    "from 0 to 1 by (255 * images).round().astype(jnp.uint8)")


def check_sizes(images: Array, image_sizes: Array) -> None:
  """Raises AssertionError unless images are [B, H, W, 3] and their sizes [B, 2]."""
  chex.assert_shape(images, (None, None, None, 3), custom_message="images")
  chex.assert_shape(image_sizes, (images.shape[0], 2),
                    custom_message="image_sizes: (height, width) of each image")


def check_batch(batch: Batch) -> None:
  """Raises unless the arrays have the shapes of `Batch`, and images and masks its dtypes.

  Raises:
    AssertionError: for another shape, naming the field and the shape that it has to have.
    TypeError: for another dtype, naming the field.
  """
  count, rows = batch.images.shape[0], batch.valid.shape
  shapes = {"images": (count, None, None, 3), "image_sizes": (count, 2), "valid": (count, None),
            "boxes": (*rows, 4), "labels": rows, "masks": (*rows, MASK_SIDE, MASK_SIDE),
            "areas": rows, "crowd": rows, "ignored_boxes": (count, None, 4)}
  notes = {"masks": ": each mask is resampled inside its own box"}
  for name, shape in shapes.items():
    if getattr(batch, name) is not None:
      chex.assert_shape(getattr(batch, name), shape,
                        custom_message=f"Batch.{name}{notes.get(name, '')}")
  check_images(batch.images, name="Batch.images")
  if not jnp.issubdtype(batch.labels.dtype, jnp.integer):
    raise TypeError(f"Batch.labels are {batch.labels.dtype}, must be integers")
  if not jnp.issubdtype(batch.masks.dtype, jnp.integer) and batch.masks.dtype != bool:
    raise TypeError(f"Batch.masks are {batch.masks.dtype}, must be uint8 or bool: they are 0 or 1")


def nan_of_wrong_labels(batch: Batch, num_categories: int) -> jax.Array:
  """Returns [B], NaN for images with a label outside 1 ... C - 1, else 0.

  The cross entropy of a label that no logit stands for has no lower bound, and that of label 0
  trains objects as background. Crowd regions are no targets: their labels are not read.
  """
  read = batch.valid & ~batch.crowd & batch.real[:, None]
  wrong = read & ((batch.labels < 1) | (batch.labels >= num_categories))
  return jnp.where(wrong.any(axis=1), jnp.float32(jnp.nan), 0.0)
