"""Image files with damage, and files whose header claims more than they hold."""

import functools
import os
import struct
import zlib

import cv2
import numpy as np

from mnc_jax.data.images import read_image
from mutations.damage import damage_bytes, pack_chunk
from mutations.outcomes import Family, require

PIXELS = np.random.default_rng(7).integers(0, 256, (24, 32, 3), dtype=np.uint8)
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LARGEST = 2**27  # Pixels. No image that is read may have more.
_SIDES = (0, 1, 5, 32, 24, 4000, 20_000, 65_535, 100_000, 2**20, 2**31 - 1, 2**32 - 1)


@functools.cache
def _encode(kind):
  deep = PIXELS.astype(np.uint16) * 257
  pixels, suffix, options = {
      "png": (PIXELS, ".png", []), "png16": (deep, ".png", []),
      "gray": (PIXELS[..., 0], ".png", []),
      "alpha": (np.dstack([PIXELS, PIXELS[..., :1]]), ".png", []),
      "jpeg": (PIXELS, ".jpg", []),
      "progressive": (PIXELS, ".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
      "bmp": (PIXELS, ".bmp", []), "tiff": (PIXELS, ".tiff", []), "tiff16": (deep, ".tiff", []),
      "webp": (PIXELS, ".webp", []), "ppm": (PIXELS, ".ppm", [])}[kind]
  return cv2.imencode(suffix, pixels, options)[1].tobytes()


_KINDS = ("png", "png16", "gray", "alpha", "jpeg", "progressive", "bmp", "tiff", "tiff16", "webp",
          "ppm")


def claim_size(rng, png: bytes) -> bytes:
  """Returns a PNG with another header, whose checksum is right."""
  width, height = rng.choice(_SIDES), rng.choice(_SIDES)
  header = struct.pack(">II", width, height) + bytes(
      [rng.choice((1, 2, 4, 8, 16, 3)), rng.choice((0, 2, 3, 4, 6, 1)), 0, 0, rng.choice((0, 1))])
  return SIGNATURE + pack_chunk(b"IHDR", header) + png[33:]


@functools.cache
def png_bomb(side: int) -> bytes:
  """Returns a sound grey PNG of side x side zeros, a thousandth of its pixels in bytes."""
  pack = zlib.compressobj(1)
  rows = bytes((side + 1) * 64)
  content = b"".join(pack.compress(rows) for _ in range(side // 64)) + pack.flush()
  return (SIGNATURE + pack_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
          + pack_chunk(b"IDAT", content) + pack_chunk(b"IEND", b""))


@functools.cache
def _text_bomb():
  """A PNG with 256 megabytes of compressed text beside its pixels."""
  pack = zlib.compressobj(1)
  content = b"".join(pack.compress(bytes(2**22)) for _ in range(64)) + pack.flush()
  png = _encode("png")
  return png[:33] + pack_chunk(b"zTXt", b"a\0\0" + content) + png[33:]


def _claim_in_others(rng, kind):
  """Writes huge sides into the header of a format without checksums."""
  content = bytearray(_encode(kind))
  places = {"bmp": (18, "<ii"), "webp": (26, "<HH")}
  if kind in places:
    at, layout = places[kind]
    width = struct.calcsize(layout[:2])
    packed = struct.pack("<qq", rng.choice(_SIDES), rng.choice(_SIDES))
    content[at:at + 2 * width] = packed[:width] + packed[8:8 + width]
  elif kind in ("jpeg", "progressive"):
    at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2")) + 5
    content[at:at + 4] = struct.pack(">HH", 65_500, rng.choice((1, 24, 65_500)))
  elif kind == "ppm":
    content = bytearray(b"P6\n%d %d\n255\n" % (rng.choice(_SIDES), rng.choice(_SIDES))) + bytes(99)
  else:
    for tag in (256, 257):  # ImageWidth, ImageLength: tag, type, count, value.
      at = content.find(struct.pack("<H", tag), 8) + 8
      content[at:at + 4] = struct.pack("<I", rng.choice(_SIDES) % 2**32)
  return bytes(content)


def write_image(rng, folder):
  """Writes one damaged image; sometimes something that is no plain file."""
  kind, path, way = rng.choice(_KINDS), folder / "photograph.img", rng.randrange(20)
  if way == 0:
    os.mkfifo(path)
  elif way == 1:
    path.symlink_to(rng.choice(("/dev/zero", "photograph.img", "nowhere")))
  elif way == 2:
    path.write_bytes(png_bomb(12_288) if rng.random() < 0.7 else _text_bomb())
  elif way <= 5:
    path.write_bytes(claim_size(rng, _encode("png")))
  elif way <= 8:
    path.write_bytes(_claim_in_others(rng, kind))
  else:
    path.write_bytes(damage_bytes(rng, _encode(kind)))
    (folder / "kind").write_text(kind)
  return path.name


def read(folder):
  """Returns the pixels, and what they must be, if that is known."""
  kind = folder / "kind"
  # Only PNG has checksums; its changes must be noticed.
  known = kind.is_file() and kind.read_text() in ("png", "png16")
  return read_image(folder / "photograph.img"), PIXELS[..., ::-1] if known else None


def check(found):
  """An image is RGB of 8 or 16 bits, not too large; a PNG's pixels are those that were written."""
  pixels, expected = found
  require(isinstance(pixels, np.ndarray) and pixels.dtype in (np.uint8, np.uint16),
          "the pixels are neither uint8 nor uint16")
  require(pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size, f"the shape {pixels.shape}")
  require(pixels.size <= 3 * _LARGEST, f"{pixels.shape} is beyond {_LARGEST} pixels")
  if expected is not None:
    depth = 257 if pixels.dtype == np.uint16 else 1
    require(np.array_equal(pixels, expected.astype(np.uint16) * depth),
            "a damaged PNG gave other pixels")


IMAGES = Family(write_image, read, check)
