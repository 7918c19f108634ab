"""MATLAB's .mat files of version 5, unpacked within bounds, before SciPy reads them.

SciPy believes what the file says: an element of a few kilobytes may unpack to gigabytes, and
cells in cells in cells end the process when they are deeper than its stack. The format is in
MathWorks, "MAT-File Format", 1999 and later: a header, then elements of type, length, content.
"""

import math
import struct
import zlib

_HEADER = 128  # Bytes; the last two say which end of a number comes first.
_DIMENSIONS, _MATRIX, _COMPRESSED = 5, 14, 15
# Bytes of the whole file when unpacked: labels in double precision of 16 million pixels. The
# images of SBD have a quarter of a million.
MOST_BYTES = 2 ** 27
_DEEPEST = 16  # Matrices in matrices. GTinst has 3: itself, its fields, and their cells.
_MOST_ITEMS = MOST_BYTES  # Of a matrix: SciPy makes room for so many before it reads one.


def unpack_matlab(content: bytes) -> bytes:
  """Returns the same file without compression.

  Raises:
    ValueError: if it is no file of version 5, damaged, larger than `MOST_BYTES` when unpacked,
      or nested deeper than `_DEEPEST`; with what was found.
  """
  order = {b"IM": "<", b"MI": ">"}.get(content[_HEADER - 2:_HEADER])
  if order is None:
    raise ValueError("it is no file of MATLAB (version 5)")
  parts, place, total = [content[:_HEADER]], _HEADER, _HEADER
  while place < len(content):
    kind, start, end, after = _element(content, place, len(content), order)
    part = (_unpack(content[start:end], MOST_BYTES - total) if kind == _COMPRESSED
            else content[place:after])
    parts.append(part)
    total += len(part)
    if total > MOST_BYTES:
      raise ValueError(f"it has more than {MOST_BYTES} bytes")
    # A compressed element is not padded.
    place = end if kind == _COMPRESSED else after
    _check_nesting(part, order)
  return b"".join(parts)


def _unpack(packed, room):
  unpack = zlib.decompressobj()
  try:
    content = unpack.decompress(packed, max(room, 1))
  except zlib.error as error:
    raise ValueError(f"it is damaged: {error}") from error
  if not unpack.eof:
    raise ValueError(f"its packed content is cut short, or unpacks to more than {MOST_BYTES} bytes")
  return content


def _check_nesting(content, order):
  """Walks over elements in elements, without a call for each level."""
  place, ends = 0, []
  while place < len(content):
    while ends and place >= ends[-1]:
      ends.pop()
    limit = ends[-1] if ends else len(content)
    kind, start, end, after = _element(content, place, limit, order)
    if kind == _MATRIX:
      ends.append(end)
      if len(ends) > _DEEPEST:
        raise ValueError(f"its matrices are nested deeper than {_DEEPEST} levels")
    elif kind == _DIMENSIONS and ends:
      _check_items(content[start:end], order)
    place = start if kind == _MATRIX else min(after, limit)


def _check_items(packed, order):
  sides = struct.unpack(f"{order}{len(packed) // 4}i", packed[:len(packed) // 4 * 4])
  if len(sides) <= 32 and math.prod(map(abs, sides)) > _MOST_ITEMS:
    raise ValueError(f"it claims a matrix of {' x '.join(map(str, sides))}, more than "
                     f"{_MOST_ITEMS} items")


def _element(content, place, limit, order):
  """Returns type, start and end of the content, and the next element, of 8 bytes' alignment."""
  if place + 8 > limit:
    raise ValueError(f"it is cut short or damaged: no element begins at byte {place}")
  kind, length = struct.unpack_from(f"{order}II", content, place)
  if kind >> 16:  # Of up to four bytes, in place of the length.
    kind, length, start = kind & 0xFFFF, kind >> 16, place + 4
    if length > 4:
      raise ValueError(f"it is damaged: the element at byte {place} has {length} bytes in 4")
    return kind, start, start + length, place + 8
  start, end = place + 8, place + 8 + length
  if end > limit:
    raise ValueError(f"it is cut short or damaged: the element at byte {place} ends at {end}, "
                     f"after what holds it ({limit})")
  return kind, start, end, end + -length % 8
