"""Pages and channels of TIFF files: which there are, and samples that Pillow cannot decode.

Pillow opens one directory of tags at a time, knows no more than four channels in a few
arrangements, and cuts colours of 16 bits to 8. For other pages this module writes a directory in
which the samples of a pixel are pixels side by side, which Pillow's decoders then read. The tags
are those of TIFF 6.0 and BigTIFF.
"""

import io
import re
import struct
from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.TiffImagePlugin

_HEADERS = {b"II*\0": ("<", False), b"MM\0*": (">", False),
            b"II+\0": ("<", True), b"MM\0+": (">", True)}
_TYPES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 16: "u8"}  # BYTE, ASCII, SHORT, LONG, LONG8.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2  # Photometric interpretations.
_SEPARATE = 2  # The planar configuration of one plane per channel.
_JPEG = (6, 7)  # Compressions that join channels.
_ALPHA = (1, 2)  # Kinds of extra samples.
_SIGNED = 2  # The format of samples that may be below 0.


class Page(NamedTuple):
  """One image of a file: its tags, with their defaults, and where its directory is.

  Attributes:
    offset: of the directory; 0 for a page that has none of its own.
    big_endian: byte order of the samples.
    tags: values by name of the tag, as in `_TAGS`, those present.
  """
  offset: int
  big_endian: bool
  tags: dict[str, list[int]]

  def first(self, name: str, default: int) -> int:
    """Returns the first value of a tag, or `default`."""
    return self.tags.get(name, [default])[0]


_TAGS = {
    254: "kind", 255: "old_kind", 256: "width", 257: "height", 258: "bits", 259: "compression",
    262: "photometric", 266: "fill_order", 270: "description", 273: "strips", 274: "orientation",
    277: "samples", 278: "rows", 279: "strip_bytes", 284: "planar", 317: "predictor",
    322: "tile_width", 323: "tile_height", 324: "tiles", 325: "tile_bytes", 338: "extra",
    339: "format"}
_NUMBERS = {name: number for number, name in _TAGS.items()}


def is_tiff(encoded: bytes) -> bool:
  """Returns whether the file is a TIFF or BigTIFF."""
  return encoded[:4] in _HEADERS


def read_pages(encoded: bytes) -> list[Page]:
  """Returns the pages of a TIFF; thumbnails, pyramid levels and masks are none.

  ImageJ writes one directory for a stack of more than 4 GB, and names the number of images.

  Raises:
    ValueError, struct.error: if a directory is outside of the file.
  """
  order, big = _HEADERS[encoded[:4]]
  offset = struct.unpack_from(f"{order}Q" if big else f"{order}I", encoded, 8 if big else 4)[0]
  pages, seen = [], set()
  while offset and offset not in seen:
    seen.add(offset)
    tags, following = _read_directory(encoded, offset, order, big)
    pages.append(Page(offset, order == ">", tags))
    offset = following
  # Bits 0 and 2 of the kind are a smaller version and a mask; 2 is the older smaller version.
  whole = [page for page in pages
           if not page.first("kind", 0) & 5 and page.first("old_kind", 1) != 2]
  pages = whole or pages[:1]
  return _split_stack(encoded, pages[0]) if len(pages) == 1 else pages


def _read_directory(encoded, offset, order, big):
  """Returns {name: values} of the tags used here, and the offset of the next directory."""
  word = "Q" if big else "I"
  counter, entry = (f"{order}Q", f"{order}HHQ") if big else (f"{order}H", f"{order}HHI")
  count, = struct.unpack_from(counter, encoded, offset)
  offset, tags = offset + struct.calcsize(counter), {}
  for _ in range(count):
    tag, kind, length = struct.unpack_from(entry, encoded, offset)
    at = offset + struct.calcsize(entry)
    offset = at + struct.calcsize(word)
    if tag in _TAGS and kind in _TYPES and length:
      dtype = np.dtype(order + _TYPES[kind])
      if length * dtype.itemsize > struct.calcsize(word):
        at, = struct.unpack_from(order + word, encoded, at)
      tags[_TAGS[tag]] = np.frombuffer(encoded, dtype, length, at).tolist()
  return tags, struct.unpack_from(order + word, encoded, offset)[0]


def _split_stack(encoded, page):
  """Returns the pages of an ImageJ stack with one directory, or the page itself."""
  text = bytes(page.tags.get("description", [])[:2000])
  found = re.search(rb"\nimages=(\d{1,9})\s", text) if text.startswith(b"ImageJ=") else None
  if not found or not page.tags.get("strips") or page.first("compression", 1) != 1:
    return [page]
  start = page.tags["strips"][0]
  size = (page.first("width", 0) * page.first("height", 0) * page.first("samples", 1)
          * page.first("bits", 1) // 8)
  stored = (len(encoded) - start) // max(size, 1)
  return [page] + [
      page._replace(offset=0, tags=page.tags | {
          "strips": [start + index * size], "strip_bytes": [size], "rows": page.tags["height"]})
      for index in range(1, min(int(found[1]), stored))]


def count_channels(page: Page) -> int:
  """Returns the channels of a page without alpha: 3 for colours of any kind, 1 for grey."""
  samples, extra = page.first("samples", 1), page.tags.get("extra", [])
  photometric = page.first("photometric", BLACK_IS_ZERO)
  if photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO):
    return samples - sum(kind in _ALPHA for kind in extra)
  # A fourth sample of no stated kind is taken for alpha, as everywhere.
  return 3 if photometric != RGB or samples <= 4 else samples


def is_signed(page: Page) -> bool:
  """Returns whether the samples of a page are grey and signed, and have 8 or 16 bits."""
  return (page.first("format", 1) == _SIGNED and page.first("bits", 1) in (8, 16)
          and page.first("samples", 1) == 1)


def needs_planes(page: Page) -> bool:
  """Returns whether Pillow cannot decode a page, or not at its depth, but `read_planes` can."""
  samples, photometric = page.first("samples", 1), page.first("photometric", BLACK_IS_ZERO)
  if page.first("bits", 1) not in (8, 12, 16) or photometric > RGB or page.first("format", 1) != 1:
    return False
  if page.first("compression", 1) in _JPEG:
    return False
  deep = page.first("bits", 1) > 8
  return (not page.offset or page.first("bits", 1) == 12 or samples > 4 or (deep and samples > 1)
          or (deep and photometric == WHITE_IS_ZERO) or (photometric != RGB and samples > 1))


def start_with(encoded: bytes, page: Page) -> bytes:
  """Returns the file with `page` as its first one."""
  order, big = _HEADERS[encoded[:4]]
  at, word = (8, f"{order}Q") if big else (4, f"{order}I")
  return encoded[:at] + struct.pack(word, page.offset) + encoded[at + struct.calcsize(word):]


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
  wide = {name: [page.tags[name][0] * samples] for name in ("width", "tile_width")
          if name in page.tags}
  pixels = _decode(encoded, page, wide | {"predictor": [1]}).reshape(height, width, samples)
  return _undo_predictor(pixels, page) if page.first("predictor", 1) == 2 else pixels


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
  for name in sorted(tags, key=lambda name: _NUMBERS[name]):
    packed = struct.pack(f"{order}{len(tags[name])}I", *tags[name])
    inline = packed if len(packed) == 4 else struct.pack(f"{order}I", after + len(values))
    entries += struct.pack(f"{order}HHI", _NUMBERS[name], 4, len(tags[name])) + inline
    values += b"" if len(packed) == 4 else packed
  return entries + struct.pack(f"{order}I", 0) + values
