"""An image as users give it, a file or an array, to RGB."""

import os
from typing import Any

import numpy as np

from mnc_jax.config.paths import as_local_path
from mnc_jax.data.images import DEFAULT_OPTIONS, ImageOptions, read_image


def to_rgb(image: Any, name: str, *, options: ImageOptions = DEFAULT_OPTIONS) -> np.ndarray:
  """Returns the pixels of a file, by default upright, and those of an array unchanged.

  Args:
    image: path of a file, `~` allowed; or an array [h, w, 3] RGB, uint8 or uint16, also of JAX.
    name: what messages call an array.
    options: which pixels of a file.

  Returns:
    [h, w, 3] RGB, uint8, or uint16 of more than 8 bits or of one value; in the byte order of the
    machine.

  Raises:
    BrokenImageError: if a file is missing or cannot be decoded, naming it.
    TypeError: for neither a path nor an array.
    ValueError: for any other array, with the expression that makes it RGB of such a type.
  """
  if isinstance(image, str | os.PathLike):
    return read_image(as_local_path(image), options=options)
  if not (hasattr(image, "shape") and hasattr(image, "dtype")):
    raise TypeError(f"{name} is a {type(image).__name__}: give a path or an array [h, w, 3] of "
                    "uint8 RGB (of a Pillow image: numpy.asarray(image.convert('RGB')))")
  array = np.asarray(image)
  if not array.dtype.isnative:  # As of TIFF files by ImageJ, whose high bytes come first.
    array = array.astype(array.dtype.newbyteorder("="))
  if 0 in array.shape:
    raise ValueError(f"{name} has no pixels: its shape is {list(array.shape)}")
  if array.ndim != 3 or array.shape[2] != 3:
    raise ValueError(f"{name} has the shape {list(array.shape)}, but [h, w, 3] is needed"
                     f"{_cure_of_shape(array.shape)}")
  if array.dtype != np.uint8 and not (array.dtype == np.uint16 and _is_deep_or_blank(array)):
    raise ValueError(f"{name} has {array.dtype} pixels, but uint8 from 0 to 255 (or uint16 from 0 "
                     f"to 65535) is needed"
                     f"{_cure_of_dtype(array)}")
  return array


def _is_deep_or_blank(array):
  """Returns whether 16 bits are used: values up to 255 are those of 8 bits, and would be black.

  Of an image of one intensity, a blank frame, both readings are blank.
  """
  return array.max() > 255 or array.max() == array.min()


def _cure_of_shape(shape):
  match shape:
    case (_, _):
      return ". For a grey image: numpy.stack([image] * 3, -1)"
    case (_, _, 1):
      return ". For a grey image: numpy.repeat(image, 3, -1)"
    case (_, _, 2):
      return ". For grey with alpha: numpy.stack([image[..., 0]] * 3, -1)"
    case (_, _, 4):
      return ". For RGBA: image[..., :3]"
    case (3, _, _):
      return ". For channels first: image.transpose(1, 2, 0)"
    case (1, _, _):
      return ". For a grey image with channels first: numpy.stack([image[0]] * 3, -1)"
    case (_, _, _, 3):
      return ". For a batch pass a list: list(image)"
  return ""


def _cure_of_dtype(array):
  if array.dtype == np.bool_:
    return ": image.astype('uint8') * 255"
  if array.dtype == np.uint16:
    return (f", and of 16 bits these are almost black, at most {array.max()}. Give an image that "
            "is so dark as a file; values of 8 bits: image.astype('uint8')")
  values = array.astype(np.float64)
  low, high = values.min(), values.max()
  if low >= 0 and high <= 1:
    return f", and these are {low:g} to {high:g}: (image * 255).astype('uint8')"
  if low >= 0 and high <= 255:
    return ": image.astype('uint8')"
  if low >= 0 and high <= 65535 and array.dtype.kind in "iu":
    return f", and these are {low:g} to {high:g}: image.astype('uint16')"
  return f", and these are {low:g} to {high:g}: give the pixels as they were before normalisation"
