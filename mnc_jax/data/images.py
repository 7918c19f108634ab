"""Image files to RGB arrays, and back."""

import io
import pathlib
import re
import struct

import cv2
import numpy as np
import PIL.Image
import PIL.TiffImagePlugin

from mnc_jax.coco.rle import MOST_PIXELS
from mnc_jax.data.records import BrokenImageError

_LARGEST_FILE = 2 ** 31  # Bytes of an encoded image: more than MOST_PIXELS need uncompressed.

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
# Markers that end the pixels or begin a segment; the others stand alone or among pixels.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")


def read_image(path) -> np.ndarray:
  """Returns the image at `path` as `decode_image` does.

  Raises:
    BrokenImageError: if it is missing or cannot be decoded, naming the file.
  """
  try:
    encoded = read_file(pathlib.Path(path))
  except OSError as error:
    raise BrokenImageError(f"cannot read image {path}: {error.strerror}") from error
  except ValueError as error:
    raise BrokenImageError(f"cannot read image {error}") from error
  return decode_image(encoded, str(path))


def read_file(path: pathlib.Path) -> bytes:
  """Returns the bytes of the plain file at `path`; a device or a pipe could go on for ever.

  Raises:
    OSError: as the system says.
    ValueError: if it is no plain file, or larger than an image may be.
  """
  size = path.stat().st_size
  if not path.is_file():
    raise ValueError(f"{path}: it is no plain file")
  if size > _LARGEST_FILE:
    raise ValueError(f"{path}: it has {size} bytes, more than {_LARGEST_FILE}")
  return path.read_bytes()


def decode_image(encoded: bytes, name: str) -> np.ndarray:
  """Returns the pixels of an encoded image as they are stored.

  Grey images get three equal channels, 16-bit ones are scaled to 8, alpha is ignored. An
  orientation tag is ignored too, as by the COCO tools: annotations refer to stored pixels.

  Args:
    encoded: the bytes of a PNG, JPEG or any other format that OpenCV reads.
    name: what the message calls the image.

  Returns:
    [h, w, 3] uint8 RGB.

  Raises:
    BrokenImageError: if the bytes are not an image, or one that was cut off.
  """
  # OpenCV fills the missing part of a cut-off JPEG with grey and says nothing to the caller.
  if encoded[:2] == _JPEG_START and not _reaches_jpeg_end(encoded):
    raise BrokenImageError(f"image {name} is cut off: a JPEG of {len(encoded)} bytes without end")
  pixels = claimed_pixels(encoded)
  if pixels > MOST_PIXELS:
    raise BrokenImageError(f"image {name} claims {pixels} pixels, more than {MOST_PIXELS}")
  # Without a known size nothing would bound what OpenCV makes of it.
  image = _decode(encoded, name) if pixels else None
  if image is None:
    raise BrokenImageError(f"image {name} cannot be decoded: not an image, or damaged")
  return _to_rgb(_to_uint8(image, name))


def claimed_pixels(encoded: bytes) -> int:
  """Returns how many pixels the header of the image `encoded` claims; 0 if none can be read."""
  try:
    if encoded[:4] in PIL.TiffImagePlugin.PREFIXES:
      return _tiff_pixels(encoded)
    with open_by_pillow(encoded) as image:
      return image.height * image.width
  except Exception:  # Whatever its parsers run into in a damaged file.
    return 0


def open_by_pillow(encoded: bytes) -> PIL.Image.Image:
  """Returns the image in `encoded` as `PIL.Image.open` does, but without Pillow's own limit.

  That limit is lower than ours and warns. Warnings cannot be ignored here: filters belong to the
  whole process, and this runs in many threads.

  Raises:
    ValueError: if no format of Pillow's accepts it; or whatever its parsers run into.
  """
  PIL.Image.init()
  for name in PIL.Image.ID:
    factory, accepts = PIL.Image.OPEN[name]
    accepted = accepts is None or accepts(encoded[:16])
    if accepted and not isinstance(accepted, str):  # Text says why it is not.
      try:
        return factory(io.BytesIO(encoded), "")
      # By these a parser says, as in `PIL.Image.open`, that it is not its format.
      except (SyntaxError, IndexError, TypeError, struct.error):
        continue
  raise ValueError("not an image that Pillow knows")


def _tiff_pixels(encoded):
  # Pillow opens no TIFF of 16 bits a colour, but can list its tags.
  tags = PIL.TiffImagePlugin.ImageFileDirectory_v2(encoded[:8])
  file = io.BytesIO(encoded)
  file.seek(tags.next)
  tags.load(file)
  return (int(tags[PIL.TiffImagePlugin.IMAGELENGTH]) * int(tags[PIL.TiffImagePlugin.IMAGEWIDTH]))


def encode_png(image: np.ndarray) -> bytes:
  """Returns the PNG of an [h, w, 3] uint8 RGB image."""
  return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def _decode(encoded, name):
  """Returns the pixels as OpenCV gives them, None if it does not know them."""
  if not encoded:
    return None
  try:
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
  except cv2.error as error:  # Of images of more pixels than OpenCV allows, for one.
    raise BrokenImageError(f"image {name} cannot be decoded: {str(error).strip()}") from error


def _reaches_jpeg_end(encoded):
  """Returns whether a JPEG's last scan is followed by the end of the image.

  Segments are skipped by their length: a preview in one has an end of its own. What
  follows the end is not looked at: phones append whole films, which hold any bytes.
  """
  position = 0
  while marker := _JPEG_MARKER.search(encoded, position):
    if marker[0] == _JPEG_END:
      return True
    start = marker.end()
    position = start + int.from_bytes(encoded[start:start + 2], "big")
  return False


def _to_uint8(image, name):
  if image.dtype == np.uint8:
    return image
  if image.dtype == np.uint16:
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
  raise BrokenImageError(f"image {name} has {image.dtype} pixels; 8 and 16 bits are supported")


def _to_rgb(image):
  if image.ndim == 2:
    image = image[..., None]
  if image.shape[2] < 3:
    return np.repeat(image[..., :1], 3, axis=2)
  return np.ascontiguousarray(image[..., 2::-1])
