"""Samples of TIFF files that Pillow cannot decode.

Pillow knows no more than four channels in a few arrangements, cuts colours of 16 bits to 8, and
reads neither numbers of 64 bits nor a BigTIFF whose high bytes come first. For such pages this
module writes a directory that Pillow's decoders read: one in which the samples of a pixel, or the
bytes of a number, are pixels side by side.
"""

import io
import struct

import numpy as np
import PIL.Image
import PIL.TiffImagePlugin

from mnc_jax.data.tiff import (
  BLACK_IS_ZERO,
  FLOAT,
  HEADERS,
  RGB,
  SIGNED,
  TAG_NUMBERS,
  UNSIGNED,
  WHITE_IS_ZERO,
  Page,
)

_SEPARATE = 2  # The planar configuration of one plane per channel.
_JPEG = (6, 7)  # Compressions that join channels.
_KINDS = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}
_DIFFERENCES = 2  # The predictor of integers.


def needs_planes(page: Page) -> bool:
  """Returns whether Pillow cannot decode a page, or not at its depth, but `read_planes` can."""
  samples, photometric = page.first("samples", 1), page.first("photometric", BLACK_IS_ZERO)
  if page.first("bits", 1) not in (8, 12, 16) or photometric > RGB:
    return False
  if page.first("format", UNSIGNED) != UNSIGNED or page.first("compression", 1) in _JPEG:
    return False
  deep = page.first("bits", 1) > 8
  return (not page.offset or page.first("bits", 1) == 12 or samples > 4 or (deep and samples > 1)
          or (deep and photometric == WHITE_IS_ZERO) or (photometric != RGB and samples > 1))


def needs_numbers(page: Page) -> bool:
  """Returns whether Pillow cannot decode the grey numbers of a page, but `read_numbers` can.

  Pillow takes signed numbers of 8 bits for unsigned ones.
  """
  bits, kind = page.first("bits", 1), page.first("format", UNSIGNED)
  photometric = page.first("photometric", BLACK_IS_ZERO)
  if (page.first("samples", 1) > 1 or photometric > BLACK_IS_ZERO or kind not in _KINDS
      or page.first("compression", 1) in _JPEG
      or page.first("predictor", 1) > (1 if kind == FLOAT else _DIFFERENCES)):
    return False
  if kind == SIGNED:
    return bits in (8, 16, 32, 64)
  # Of compressed numbers with the high byte first Pillow swaps the bytes once too often.
  swapped = bits == 32 and page.big_endian
  if kind == FLOAT:
    return bits in (16, 64) or swapped
  return bits == 64 or swapped or (bits in (8, 16, 32) and photometric == WHITE_IS_ZERO)


def read_numbers(encoded: bytes, page: Page) -> np.ndarray:
  """Returns [h, w] the grey numbers of a page as they are stored: not turned, 0 as in the file.

  Raises:
    Exception: whatever Pillow or NumPy raise of a damaged file.
  """
  size = page.first("bits", 8) // 8
  order = ">" if page.big_endian else "<"
  pixels = _decode(encoded, page, _widen(page, size) | {"bits": [8], "predictor": [1]})
  numbers = pixels.view(f"{order}{_KINDS[page.first('format', UNSIGNED)]}{size}")
  numbers = numbers.astype(numbers.dtype.newbyteorder("="))
  return _undo_predictor(numbers, page) if page.first("predictor", 1) == _DIFFERENCES else numbers


def start_with(encoded: bytes, page: Page) -> bytes:
  """Returns the file with `page` as its first one; with a big-endian BigTIFF as a classic one.

  Raises:
    ValueError: a message that continues "image NAME ...", if that has JPEG inside, or numbers that
      point out of the file.
  """
  order, big = HEADERS[encoded[:4]]
  if big and page.big_endian:
    return _make_classic(encoded, page)
  at, word = (8, f"{order}Q") if big else (4, f"{order}I")
  return encoded[:at] + struct.pack(word, page.offset) + encoded[at + struct.calcsize(word):]


def _make_classic(encoded, page):
  """Returns a BigTIFF with a header and directory that Pillow reads in this order of bytes."""
  if page.first("compression", 1) in _JPEG:
    raise ValueError("is a big-endian BigTIFF with JPEG inside, which is not read: save it as "
                     "another TIFF")
  tags = {name: values for name, values in page.tags.items() if name != "description"}
  try:
    directory = _write_directory(tags, len(encoded), ">")
  except struct.error as error:
    raise ValueError("cannot be decoded: damaged, with tags of more than 32 bits") from error
  return b"MM\0*" + struct.pack(">I", len(encoded)) + encoded[8:] + directory


def _widen(page, factor):
  """Returns the tags of widths, for pixels in `factor` parts each."""
  return {name: [page.tags[name][0] * factor] for name in ("width", "tile_width")
          if name in page.tags}


def read_planes(encoded: bytes, page: Page) -> np.ndarray:
  """Returns the samples of a page as they are stored: not turned, 0 as in the file.

  Returns:
    [h, w, channels] uint8, or uint16 in which 12 bits keep their range of 0 to 4095.

  Raises:
    Exception: whatever Pillow or NumPy raise of a damaged file.
  """
  samples, height, width = page.first("samples", 1), page.first("height", 0), page.first("width", 0)
  if page.first("planar", 1) == _SEPARATE and samples > 1:
    return np.concatenate([_decode(encoded, page, _plane_tags(page, index, samples))
                           .reshape(height, width, 1) for index in range(samples)], axis=2)
  pixels = _decode(encoded, page, _widen(page, samples) | {"predictor": [1]})
  pixels = pixels.reshape(height, width, samples)
  return _undo_predictor(pixels, page) if page.first("predictor", 1) == _DIFFERENCES else pixels


def _plane_tags(page, index, samples):
  """Returns the tags of one channel: its share of the strips or tiles."""
  return {name: values[index * (len(values) // samples):(index + 1) * (len(values) // samples)]
          for name, values in page.tags.items()
          if name in ("strips", "strip_bytes", "tiles", "tile_bytes")}


def _undo_predictor(pixels, page):
  """Adds up horizontal differences, which start anew in each tile."""
  side = page.first("tile_width", pixels.shape[1])
  parts = [np.cumsum(pixels[:, left:left + side], axis=1, dtype=pixels.dtype)
           for left in range(0, pixels.shape[1], side)]
  return np.concatenate(parts, axis=1)


def _decode(encoded, page, changed):
  """Returns [h, w] of a page of one channel with the tags `changed`."""
  order = ">" if page.big_endian else "<"
  kept = ("width", "height", "bits", "compression", "fill_order", "strips", "rows", "strip_bytes",
          "predictor", "tile_width", "tile_height", "tiles", "tile_bytes")
  tags = {name: values for name, values in (page.tags | changed).items() if name in kept}
  tags |= {"bits": tags["bits"][:1], "photometric": [BLACK_IS_ZERO], "samples": [1]}
  header = (b"MM\0*" if page.big_endian else b"II*\0") + struct.pack(f"{order}I", len(encoded))
  directory = _write_directory(tags, len(encoded), order)
  # A classic header also for BigTIFF, of which bytes 8 to 15 are header too.
  file = io.BytesIO(header + encoded[8:] + directory)
  image = PIL.TiffImagePlugin.TiffImageFile(file, "")
  image.load()
  pixels = np.asarray(image)
  return pixels.astype(np.uint8 if tags["bits"] == [8] else np.uint16)


def _write_directory(tags, offset, order):
  """Returns the bytes of a directory at `offset`, all values as LONG."""
  after = offset + 2 + 12 * len(tags) + 4
  entries, values = struct.pack(f"{order}H", len(tags)), b""
  for name in sorted(tags, key=lambda name: TAG_NUMBERS[name]):
    packed = struct.pack(f"{order}{len(tags[name])}I", *tags[name])
    inline = packed if len(packed) == 4 else struct.pack(f"{order}I", after + len(values))
    entries += struct.pack(f"{order}HHI", TAG_NUMBERS[name], 4, len(tags[name])) + inline
    values += b"" if len(packed) == 4 else packed
  return entries + struct.pack(f"{order}I", 0) + values
