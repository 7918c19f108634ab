"""numpy's .npy files of one matrix of numbers, of which nothing is executed or trusted.

`np.load` would allocate whatever size a damaged header claims, and unpickle if it were asked to.
The format: numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

import io
import math

import numpy as np
from numpy.lib import format as npy

from mnc_jax.coco.rle import MOST_PIXELS

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_array(encoded: bytes) -> np.ndarray:
  """Returns the [h, w] numbers of a .npy file; axes of one element beside them are removed.

  Raises:
    ValueError: a message that continues "label image NAME ...", if it is not such a file.
  """
  file = io.BytesIO(encoded)
  try:
    shape, columns_first, dtype = _HEADERS[npy.read_magic(file)](file)
  except Exception as error:  # Whatever the parser runs into in a damaged header.
    raise ValueError("cannot be read: not a .npy file, or damaged") from error
  if dtype.kind not in "biuf":
    raise ValueError(f"holds {dtype}, not numbers: save the array of labels itself, with np.save")
  sides = tuple(side for side in shape if side != 1)
  sides = sides if len(shape) > 2 else shape
  if len(sides) != 2 or min(sides) < 1 or math.prod(sides) > MOST_PIXELS:
    raise ValueError(f"has the shape {shape}: (height, width) is needed, at most {MOST_PIXELS} "
                     "pixels")
  content = encoded[file.tell():]
  if len(content) < math.prod(sides) * dtype.itemsize:
    raise ValueError(f"ends after {len(content)} of {math.prod(sides) * dtype.itemsize} bytes")
  values = np.frombuffer(content, dtype, math.prod(sides))
  return values.reshape(sides, order="F" if columns_first else "C")
