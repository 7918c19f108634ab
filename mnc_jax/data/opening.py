"""Encoded images opened by Pillow, within our bounds and with errors for people."""

from collections.abc import Iterator
import contextlib
import functools
import importlib
import importlib.util
import io
import re
import struct

import PIL.Image

from mnc_jax.coco.rle import MOST_PIXELS

# Others of Pillow's formats start programs (EPS), or are rarely used and little tested.
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF", "HEIF")
_ANIMATED = ("PNG", "WEBP", "GIF", "AVIF")  # Further images of a JPEG are previews and the like.
_HEIC = re.compile(rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", re.DOTALL)


def open_image(encoded: bytes, *, page: int = 0) -> PIL.Image.Image:
  """Returns an encoded image, decoded, in the mode of the file.

  Unlike `PIL.Image.open` it neither warns of large images nor has a lower limit than ours.
  Warnings cannot be ignored here: filters belong to the whole process, and this runs in many
  threads.

  Args:
    encoded: the bytes of a file.
    page: as in `decoding.decode_samples`, except that the first page of a TIFF is read for 0 and 1.

  Raises:
    ValueError: as `decoding.decode_samples`.
  """
  with explain_errors(encoded):
    image = _open(encoded)
    pixels = image.height * image.width
    frames = getattr(image, "n_frames", 1) if image.format in _ANIMATED else 1
  if pixels > MOST_PIXELS:
    raise ValueError(f"claims {pixels} pixels, more than {MOST_PIXELS}: cut it into smaller images")
  index = page_index(frames, page, "frame" if frames > 1 else "page")
  with explain_errors(encoded):
    if index:
      image.seek(index)
    image.load()
  return image


def page_index(count: int, page: int, word: str) -> int:
  """Returns the index of a page, counted from 1, or with 0 of the only one of `count`.

  Raises:
    ValueError: if there is none, or with 0 several; `word` is what messages call it.
  """
  if not page and count > 1:
    raise ValueError(f"has {count} {word}s: choose one with data.page (--page of mnc prepare), "
                     f"from 1 to {count}")
  if page > count:
    raise ValueError(f"has {count} {word}(s), but data.page is {page}")
  return max(page, 1) - 1


@contextlib.contextmanager
def explain_errors(encoded: bytes) -> Iterator[None]:
  """Turns what parsers raise into a ValueError that continues "image NAME ..."."""
  try:
    yield
  except OSError as error:
    raise ValueError(f"cannot be decoded: {error}") from error
  except MemoryError:  # Says nothing about the file.
    raise
  except Exception as error:  # Whatever the parsers run into in a damaged file.
    raise ValueError(_unreadable(encoded)) from error


def _unreadable(encoded):
  if _HEIC.match(encoded):
    return ("is in HEIC, which needs the package pillow-heif (pip install pillow-heif): install "
            "it, or convert the image to JPEG")
  return "cannot be decoded: not an image, or damaged"


def reads_heic() -> bool:
  """Returns whether pillow-heif is installed."""
  return importlib.util.find_spec("pillow_heif") is not None


@functools.cache
def _register_heic():
  if reads_heic():
    importlib.import_module("pillow_heif").register_heif_opener()


def _open(encoded):
  PIL.Image.init()
  if _HEIC.match(encoded):
    _register_heic()
  for factory, accepts in (PIL.Image.OPEN[name] for name in _FORMATS if name in PIL.Image.OPEN):
    accepted = accepts is None or accepts(encoded[:16])
    if accepted and not isinstance(accepted, str):  # Text gives the reason why not.
      try:
        return factory(io.BytesIO(encoded), "")
      # These mean, as in `PIL.Image.open`, that the format is another.
      except (SyntaxError, IndexError, TypeError, struct.error):
        continue
  raise ValueError("not an image of a known format")
