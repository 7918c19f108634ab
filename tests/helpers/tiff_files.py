"""TIFF files of any arrangement of pages and channels, written from the specification."""

import struct
import zlib

import numpy as np

_LONG, _LONG8 = 4, 16


def make_tiff(pages: list[np.ndarray], *, photometric: int = 1, order: str = "<",
              big: bool = False, planar: bool = False, deflate: bool = False,
              predictor: bool = False, bits: int = 0, tile: int = 0, extra: tuple[int, ...] = (),
              tags: tuple[dict[int, tuple[int, ...]], ...] = ()) -> bytes:
  """Returns a TIFF of [h, w, c] arrays, uint8 or uint16, one page each.

  Args:
    pages: of them; with `planar` each channel is a strip of its own, else samples alternate.
    photometric: 0 white is zero, 1 black is zero, 2 RGB.
    order: of the bytes, "<" or ">".
    big: BigTIFF.
    planar: channels are stored one after the other.
    deflate: compressed by zlib.
    predictor: samples are stored as differences to their left neighbours.
    bits: per sample; 0: those of the array. 12 packs two samples in three bytes.
    tile: side of square tiles; 0: one strip.
    extra: kinds of the extra samples.
    tags: of each page, further tags with LONG values.
  """
  word, size = ("Q", 8) if big else ("I", 4)
  header = 16 if big else 8
  content, previous, first = b"", None, 0
  for index, page in enumerate(pages):
    chunks = [_encode(part, order, predictor, bits, deflate)
              for part in _split(page, planar, tile)]
    offsets = np.cumsum([0] + [len(chunk) for chunk in chunks])[:-1] + header + len(content)
    content += b"".join(chunks)
    channels = page.shape[2]
    names = (324, 325) if tile else (273, 279)
    entries = {256: (page.shape[1],), 257: (page.shape[0],),
               258: (bits or page.dtype.itemsize * 8,) * channels, 259: (8 if deflate else 1,),
               262: (photometric,), names[0]: tuple(offsets.tolist()), 277: (channels,),
               names[1]: tuple(map(len, chunks)), 284: (2 if planar else 1,)}
    entries |= {322: (tile,), 323: (tile,)} if tile else {278: (page.shape[0],)}
    entries |= {317: (2,)} if predictor else {}
    entries |= {338: extra} if extra else {}
    entries |= tags[index] if tags else {}
    start = header + len(content)
    directory, link = _write(entries, start, order, word, size)
    if previous is None:
      first = start
    else:
      at = previous - header
      content = content[:at] + struct.pack(order + word, start) + content[at + size:]
    content, previous = content + directory, start + link
  mark = b"II" if order == "<" else b"MM"
  if big:
    return mark + struct.pack(f"{order}HHHQ", 43, 8, 0, first) + content
  return mark + struct.pack(f"{order}HI", 42, first) + content


def _split(page, planar, tile):
  planes = [page[..., [k]] for k in range(page.shape[2])] if planar else [page]
  if not tile:
    return planes
  parts = []
  for plane in planes:
    down, right = -plane.shape[0] % tile, -plane.shape[1] % tile
    padded = np.pad(plane, ((0, down), (0, right), (0, 0)))
    parts += [padded[y:y + tile, x:x + tile] for y in range(0, padded.shape[0], tile)
              for x in range(0, padded.shape[1], tile)]
  return parts


def _encode(part, order, predictor, bits, deflate):
  if predictor:
    part = np.concatenate([part[:, :1], np.diff(part, axis=1)], axis=1)
  if bits == 12:
    rows = [np.unpackbits(row.astype(">u2").view(np.uint8)).reshape(-1, 16)[:, 4:].ravel()
            for row in part.reshape(len(part), -1)]
    packed = b"".join(np.packbits(row).tobytes() for row in rows)
  else:
    packed = part.astype(part.dtype.newbyteorder(order)).tobytes()
  return zlib.compress(packed) if deflate else packed


def _write(entries, start, order, word, size):
  """Returns the bytes of a directory, and where in it the offset of the next one is."""
  kind = _LONG8 if size == 8 else _LONG
  counter = order + ("Q" if size == 8 else "H")
  link = struct.calcsize(counter) + (4 + 2 * size) * len(entries)
  table, values = struct.pack(counter, len(entries)), b""
  for tag in sorted(entries):
    packed = struct.pack(f"{order}{len(entries[tag])}{word}", *entries[tag])
    inline = packed if len(packed) == size else struct.pack(
        order + word, start + link + size + len(values))
    table += struct.pack(f"{order}HH{word}", tag, kind, len(entries[tag])) + inline
    values += b"" if len(packed) == size else packed
  return table + struct.pack(order + word, 0) + values, link
