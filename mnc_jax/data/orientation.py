"""The orientation of images (EXIF), from 1 to 8, and pixels turned by it."""

import numpy as np
import PIL.ExifTags
import PIL.Image


def read_orientation(image: PIL.Image.Image) -> int:
  """Returns the orientation that a file asks for; 1, as it is stored, if it names none."""
  try:
    found = image.getexif().get(PIL.ExifTags.Base.Orientation, 1)
  except Exception:  # Whatever the parser runs into in damaged EXIF data.
    return 1
  return found if isinstance(found, int) and 1 <= found <= 8 else 1


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
  """Returns [h, w, ...] pixels turned upright, as an EXIF `orientation` from 1 to 8 asks."""
  match orientation:
    case 2:
      pixels = pixels[:, ::-1]
    case 3:
      pixels = pixels[::-1, ::-1]
    case 4:
      pixels = pixels[::-1]
    case 5:
      pixels = pixels.swapaxes(0, 1)
    case 6:
      pixels = np.rot90(pixels, -1)
    case 7:
      pixels = pixels[::-1, ::-1].swapaxes(0, 1)
    case 8:
      pixels = np.rot90(pixels)
  return np.ascontiguousarray(pixels)


def turn_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
  """Returns the pixels as they are stored, of a TIFF that Pillow has turned upright.

  6 and 8 are the inverse of each other, and each of the others its own.
  """
  return turn(pixels, {6: 8, 8: 6}.get(orientation) or orientation)
