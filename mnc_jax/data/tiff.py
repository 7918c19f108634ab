"""Pages and channels of TIFF files: which there are.

Pillow opens one directory of tags at a time. Samples that it cannot decode are read by
`tiff_samples.py`. The tags are those of TIFF 6.0 and BigTIFF.
"""

import re
import struct
from typing import NamedTuple

import numpy as np

HEADERS = {b"II*\0": ("<", False), b"MM\0*": (">", False),
            b"II+\0": ("<", True), b"MM\0+": (">", True)}
_TYPES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 16: "u8"}  # BYTE, ASCII, SHORT, LONG, LONG8.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2  # Photometric interpretations.
_ALPHA = (1, 2)  # Kinds of extra samples.
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # Formats of samples.


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
    320: "colormap", 322: "tile_width", 323: "tile_height", 324: "tiles", 325: "tile_bytes",
    338: "extra", 339: "format"}
TAG_NUMBERS = {name: number for number, name in _TAGS.items()}


def is_tiff(encoded: bytes) -> bool:
  """Returns whether the file is a TIFF or BigTIFF."""
  return encoded[:4] in HEADERS


def read_pages(encoded: bytes) -> list[Page]:
  """Returns the pages of a TIFF; thumbnails, pyramid levels and masks are none.

  ImageJ writes one directory for a stack of more than 4 GB, and names the number of images.

  Raises:
    ValueError, struct.error: if a directory is outside of the file.
  """
  order, big = HEADERS[encoded[:4]]
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
