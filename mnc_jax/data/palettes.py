"""Palettes of label images: whether index 0, which is read as background, can be it."""

import numpy as np
import PIL.Image

_BLACK = (0, 0, 0)


def check_palette(image: PIL.Image.Image, indices: np.ndarray) -> None:
  """Rejects a palette in which another index than 0 is black, as only the background is.

  Programs that turn colours into a palette number these by frequency or brightness. A palette of
  greys from white to black is left alone: ImageJ shows masks so, whose background is 0 and white.

  Args:
    image: of mode P.
    indices: its pixels.

  Raises:
    ValueError: a message that continues "label image NAME ...".
  """
  colors = _colors(image)
  if colors[0] == _BLACK or _is_transparent(image) or _is_inverted(colors):
    return
  black = next((index for index in np.unique(indices).tolist()
                if index < len(colors) and colors[index] == _BLACK), None)
  if black is not None:
    raise ValueError(
        f"has a palette in which index 0 is the colour {colors[0]}, and index {black} is black: "
        "index 0 is not the background, but is read as it. Number the objects of the coloured "
        "original from 1, and save these numbers with 0 as background, without a palette")


def _colors(image):
  values = image.getpalette() or [0, 0, 0]
  return list(zip(values[::3], values[1::3], values[2::3], strict=False))


def _is_transparent(image):
  """Returns whether index 0 is transparent: by its number, or its opacity in a list."""
  found = image.info.get("transparency")
  return found == 0 or (isinstance(found, bytes) and found[:1] == b"\0")


def _is_inverted(colors):
  return all(color == (255 - index,) * 3 for index, color in enumerate(colors))
