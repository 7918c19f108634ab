"""Encoded images to samples: the channels of one page, at the depth of the file, not turned.

Pillow decodes the 446 photographs of a part of COCO to the same pixels as OpenCV, in 2.2 ms
instead of 2.9 each. It also checks the end of a JPEG and the checksums of a PNG, and reads the
modes that labels need. Resizing stays with OpenCV, see `transforms.resize_image`. Two kinds are
not left to Pillow, which would cut them to 8 bits or not open them: colours of 16 bits in PNG
(OpenCV) and PPM, and TIFF files of other depths and channels (`tiff_samples.py`).
"""

import re
from typing import NamedTuple

import cv2
import numpy as np

from mnc_jax.coco.rle import MOST_PIXELS
from mnc_jax.data import tiff, tiff_samples
from mnc_jax.data.opening import explain_errors, open_image, page_index
from mnc_jax.data.orientation import read_orientation, turn_back
from mnc_jax.data.palettes import check_palette

_DEEP_PPM = re.compile(rb"P6(?:\s+(?:#[^\n]*\n\s*)*(\d+)){3}\s")  # The last number is the maximum.


class Samples(NamedTuple):
  """The decoded channels of one image.

  Attributes:
    pixels: [h, w, c] as they are stored, uint8 or uint16 that use their whole range, alpha last.
    channels: their number without alpha.
    is_known: whether these are grey or red, green and blue.
    orientation: that the file asks for (EXIF), from 1 to 8.
  """
  pixels: np.ndarray
  channels: int
  is_known: bool
  orientation: int


def decode_samples(encoded: bytes, page: int) -> Samples:
  """Returns the samples of a page, from 1, or with 0 of the only page of an image.

  Raises:
    ValueError: a message that continues "image NAME ...", if the bytes are not an image, are
      truncated or claim more than `MOST_PIXELS`; if there is no such page, or several for 0.
  """
  if not tiff.is_tiff(encoded):
    image = open_image(encoded, page=page)
    return _known(_read_deep_colors(encoded, image), read_orientation(image))
  chosen, encoded = _choose_tiff_page(encoded, page)
  if chosen.first("bits", 1) >= 32 or chosen.first("format", tiff.UNSIGNED) == tiff.FLOAT:
    raise ValueError(_too_deep(chosen.first("bits", 1)))
  orientation, channels = chosen.first("orientation", 1), tiff.count_channels(chosen)
  if tiff_samples.needs_planes(chosen):
    with explain_errors(encoded):
      pixels = _spread(tiff_samples.read_planes(encoded, chosen), chosen)
    is_color = chosen.first("photometric", tiff.BLACK_IS_ZERO) == tiff.RGB
    return Samples(pixels, channels, channels == (3 if is_color else 1), orientation)
  if chosen.first("format", tiff.UNSIGNED) == tiff.SIGNED and tiff_samples.needs_numbers(chosen):
    with explain_errors(encoded):
      numbers = tiff_samples.read_numbers(encoded, chosen)
    return _known(_spread(_from_signed(numbers), chosen), orientation)
  pixels = _to_array(open_image(encoded))
  return _known(turn_back(pixels, orientation), orientation)


def decode_indices(encoded: bytes) -> tuple[np.ndarray, str, int]:
  """Returns the numbers in an image of labels: not as intensities, 0 stays 0 where it is white.

  Returns:
    `(values, mode, orientation)`: [h, w] or [h, w, c] as stored, Pillow's name of their kind, and
    the EXIF orientation.

  Raises:
    ValueError: as `decode_samples` with page 0, or if the palette says that 0 is not background.
  """
  if not tiff.is_tiff(encoded):
    image = open_image(encoded)
    return _read_indices(image), image.mode, read_orientation(image)
  page, encoded = _choose_label_page(encoded)
  orientation = page.first("orientation", 1)
  if tiff_samples.needs_numbers(page):
    with explain_errors(encoded):
      return tiff_samples.read_numbers(encoded, page), "I", orientation
  image = open_image(encoded)
  values = turn_back(_read_indices(image), orientation)
  if page.first("photometric", tiff.BLACK_IS_ZERO) == tiff.WHITE_IS_ZERO:
    if image.mode == "1":
      values = ~values
    elif image.mode == "L":  # Pillow inverts up to 8 bits only.
      values = 255 - values
  return values, image.mode, orientation


def _choose_label_page(encoded):
  """Returns the only page of a TIFF of labels, and the file with it as its first."""
  with explain_errors(encoded):
    pages = tiff.read_pages(encoded)
  if len(pages) > 1:
    raise ValueError(f"has {len(pages)} pages: one is needed")
  page, encoded = _choose_tiff_page(encoded, 0)
  if tiff.count_channels(page) not in (1, 3):
    raise ValueError(f"has {tiff.count_channels(page)} channels: one is needed")
  bits = page.first("bits", 1)
  if (bits > 32 or bits == 32 and page.big_endian) and not tiff_samples.needs_numbers(page):
    raise ValueError(f"has numbers of {bits} bits that are not read as they are stored "
                     "(compression, predictor or format): save it with 16 or 32 bits")
  return page, encoded


def _read_indices(image):
  indices = np.asarray(image)
  if image.mode == "P":
    check_palette(image, indices)
  return indices


def _known(pixels, orientation):
  # An even number of channels has alpha as the last.
  return Samples(pixels, pixels.shape[2] - 1 + pixels.shape[2] % 2, True, orientation)


def _to_array(image):
  """Returns [h, w, 1 to 4]: grey or colours, with alpha if the file has it."""
  if image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM"):
    return np.asarray(image).astype(np.uint16)[..., None]
  if image.mode in ("I", "F"):
    raise ValueError(_too_deep(32))
  if image.mode == "1":
    image = image.convert("L")
  elif image.mode not in ("L", "LA", "RGB", "RGBA"):
    image = image.convert("RGB")
  pixels = np.array(image)
  return pixels[..., None] if pixels.ndim == 2 else pixels


def _too_deep(bits):
  kind = "pixels" if bits >= 32 else "floats"
  return (f"has {kind} of {bits} bits; whole numbers of 8 and 16 bits are supported: save it with "
          "16 (in Python, of whole numbers up to 65535: pixels.astype('uint16'))")


def _from_signed(pixels):
  """Returns [h, w, 1] unsigned pixels of signed ones, which must not be below 0."""
  bits = pixels.dtype.itemsize * 8
  if pixels.min() < 0:
    raise ValueError(f"has signed pixels, from {pixels.min()} to {pixels.max()}: add to them what "
                     f"makes the least 0 or more, and save it with unsigned ones of {bits} bits")
  return pixels.astype(f"u{bits // 8}")[..., None]


def _read_deep_colors(encoded, image):
  """Returns the pixels of `image`, with all 16 bits of the colours of a PNG or PPM."""
  if image.format == "PNG" and encoded[24] == 16 and encoded[25] in (2, 4, 6):
    if image.tell():
      raise ValueError("has frames of 16 bits, of which the first alone can be read: save the one "
                       "you need as an image of its own")
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
      raise ValueError("cannot be decoded: damaged")
    if encoded[25] == 4:  # Grey with alpha, which OpenCV repeats three times.
      return pixels[..., ::3]
    return pixels[..., [2, 1, 0, 3][:pixels.shape[2]]]
  header = _DEEP_PPM.match(encoded) if image.format == "PPM" else None
  if header and int(header[1]) > 255:
    values = np.frombuffer(encoded, ">u2", image.width * image.height * 3, header.end())
    return _rescale(values.reshape(image.height, image.width, 3), int(header[1]))
  return _to_array(image)


def _rescale(pixels, largest):
  """Returns uint16 pixels with `largest` at 65535."""
  return np.rint(np.minimum(pixels, largest) * (65535 / largest)).astype(np.uint16)


def _choose_tiff_page(encoded, page):
  """Returns the page, and the file with it as its first."""
  with explain_errors(encoded):
    pages = tiff.read_pages(encoded)
  if not pages:
    raise ValueError("cannot be decoded: it has no page")
  chosen = pages[page_index(len(pages), page, "page")]
  pixels = chosen.first("width", 0) * chosen.first("height", 0) * chosen.first("samples", 1)
  if pixels > MOST_PIXELS and (
      tiff_samples.needs_planes(chosen) or tiff_samples.needs_numbers(chosen)):
    raise ValueError(f"claims {pixels} samples, more than {MOST_PIXELS}")
  return chosen, tiff_samples.start_with(encoded, chosen) if chosen.offset else encoded


def _spread(pixels, page):
  """Returns samples that use the whole range of their type, 0 as black."""
  if page.first("bits", 8) == 12:
    pixels = _rescale(pixels, 4095)
  is_inverted = page.first("photometric", tiff.BLACK_IS_ZERO) == tiff.WHITE_IS_ZERO
  return np.iinfo(pixels.dtype).max - pixels if is_inverted else pixels
