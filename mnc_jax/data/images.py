"""Image files to RGB arrays, and back. `decoding.py` opens them, by Pillow."""

import io
import pathlib
from typing import Literal, NamedTuple

import numpy as np
import PIL.Image

from mnc_jax.config import DataConfig
from mnc_jax.data import decoding
from mnc_jax.data.orientation import turn
from mnc_jax.data.records import BrokenImageError

_LARGEST_FILE = 2 ** 31  # Bytes of an encoded image: more than MOST_PIXELS need uncompressed.


class ImageOptions(NamedTuple):
  """Which pixels of a file are read; the fields are those of `DataConfig`.

  Attributes:
    exif: "upright" turns an image as its EXIF orientation says, as viewers and labelling tools do;
      "stored" ignores the tag.
    page: of files with several, from 1; 0 rejects such files.
    channels: from 1, one as grey or three as red, green and blue; () reads grey or colours, and
      rejects TIFF files with other channels.
  """
  exif: Literal["upright", "stored"] = "upright"
  page: int = 0
  channels: tuple[int, ...] = ()


DEFAULT_OPTIONS = ImageOptions()


class DecodedImage(NamedTuple):
  """An image with what its file says about it.

  Attributes:
    pixels: [h, w, 3] RGB, uint8, or uint16 if the file has more than 8 bits per channel.
    orientation: the EXIF orientation of the file, 1 if it has none.
  """
  pixels: np.ndarray
  orientation: int


def image_options(config: DataConfig) -> ImageOptions:
  """Returns which pixels of a file a config asks for."""
  return ImageOptions(config.exif, config.page, config.channels)


def read_image(path: str | pathlib.Path, *, options: ImageOptions = DEFAULT_OPTIONS) -> np.ndarray:
  """Returns the pixels of the image at `path`, see `decode`.

  Raises:
    BrokenImageError: if it is missing or cannot be decoded, naming the file.
  """
  return decode(read_encoded(path), str(path), options=options).pixels


def read_encoded(path: str | pathlib.Path) -> bytes:
  """Returns the bytes of the image file at `path`.

  Raises:
    BrokenImageError: if it is missing, naming the file.
  """
  try:
    return read_file(pathlib.Path(path))
  except ValueError as error:
    raise BrokenImageError(f"cannot read image {error}") from error


def read_file(path: pathlib.Path) -> bytes:
  """Returns the bytes of the regular file at `path`; a device or a pipe might never end.

  Raises:
    ValueError: if it cannot be read, is not a regular file, or is larger than an image may be.
  """
  try:
    size = path.stat().st_size
    if not path.is_file():
      raise ValueError(f"{path}: not a regular file")
    if size > _LARGEST_FILE:
      raise ValueError(f"{path}: it has {size} bytes, more than {_LARGEST_FILE}")
    return path.read_bytes()
  except OSError as error:
    raise ValueError(f"{path}: {error.strerror}") from error


def decode_image(encoded: bytes, name: str, *, options: ImageOptions = DEFAULT_OPTIONS
                 ) -> np.ndarray:
  """Returns the pixels of an encoded image, see `decode`."""
  return decode(encoded, name, options=options).pixels


def decode(encoded: bytes, name: str, *, options: ImageOptions = DEFAULT_OPTIONS) -> DecodedImage:
  """Decodes an image and turns it upright, unless `options.exif` is "stored".

  Grey images get three equal channels, depths above 8 bits the range of 16, and alpha is ignored.
  Colours of 16 bits in JPEG 2000, AVIF and HEIC keep their upper 8.

  Args:
    encoded: the bytes of a file in one of the common formats.
    name: what the message calls the image.
    options: which pixels.

  Raises:
    BrokenImageError: if the bytes are not an image, or one that was truncated; if it has several
      pages or channels and none is chosen, or not the chosen one; if it does not fit into memory.
  """
  try:
    samples = decoding.decode_samples(encoded, options.page)
    pixels = _to_rgb(_choose(samples, options.channels))
    upright = options.exif == "upright"
    return DecodedImage(turn(pixels, samples.orientation) if upright else pixels,
                        samples.orientation)
  except ValueError as error:
    raise BrokenImageError(f"image {name} {error}") from error
  except MemoryError as error:
    raise BrokenImageError(f"image {name} does not fit into memory: cut it into smaller images"
                           ) from error


def _choose(samples, channels):
  """Returns [h, w, 1 or 3]: the channels chosen, else grey or colours."""
  count = samples.pixels.shape[2]
  if channels:
    if max(channels) > count:
      raise ValueError(f"has {count} channel(s), but data.channels is {channels}")
    return samples.pixels[..., np.array(channels) - 1]
  if samples.channels not in (1, 3) or not samples.is_known:
    raise ValueError(
        f"has {samples.channels} channels: choose one as grey, or three as red, green and blue, "
        "with data.channels (--channels of mnc prepare), for example 1")
  return samples.pixels[..., :samples.channels]


def _to_rgb(pixels):
  return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def to_8_bits(pixels: np.ndarray) -> np.ndarray:
  """Returns uint8 pixels: those of 16 bits scaled and rounded."""
  if pixels.dtype == np.uint8:
    return pixels
  return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def encode_png(image: np.ndarray) -> bytes:
  """Returns the PNG of an [h, w, 3] uint8 RGB image."""
  file = io.BytesIO()
  PIL.Image.fromarray(image).save(file, "PNG", compress_level=1)  # Three times as fast as 6.
  return file.getvalue()
