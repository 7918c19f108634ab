"""Arrays of a file that are read when they are needed, one at a time."""

from collections.abc import Callable, Iterable
import math
import pathlib
import struct
from typing import Any, NamedTuple, SupportsInt
import zipfile
import zlib

import jax.numpy as jnp
import numpy as np

# What libraries raise on a damaged file.
READ_ERRORS = (OSError, ValueError, TypeError, LookupError, EOFError, RuntimeError, struct.error,
               AttributeError, AssertionError, OverflowError, SyntaxError, zipfile.BadZipFile,
               zlib.error)
# Of one array: 2 GiB of float32. The largest expected one, VGG-16's fc6, has 103 million. A file
# of a few bytes can claim or unpack to any number.
MOST_NUMBERS = 2**29


class Lazy(NamedTuple):
  """An array of a file, not read yet.

  Attributes:
    shape: of what `read` returns.
    read: () -> float32 numpy array. It reads the file each time, keeps nothing, and raises a
      ValueError that names file and array if that fails.
  """
  shape: tuple[int, ...]
  read: Callable[[], np.ndarray]


class WeightsFile(NamedTuple):
  """A file of arrays, whatever its format.

  Attributes:
    path: of the file.
    container: "npz", "hdf5", "safetensors", "torch" or "caffemodel".
    arrays: by the file's own names; those of Caffe are "<layer>/0" and "<layer>/1" in both of
      its formats.
    metadata: what else is in the file.
  """
  path: pathlib.Path
  container: str
  arrays: dict[str, Lazy]
  metadata: dict[str, str]


def lazy_array(path: str | pathlib.Path, name: str, shape: Iterable[SupportsInt],
               read: Callable[[], Any]) -> Lazy:
  """Returns an array whose errors name file and array.

  Args:
    path: of the file.
    name: of the array in the file.
    shape: of the array.
    read: () -> array of any floating dtype, which becomes float32.
  """
  shape = tuple(int(side) for side in shape)

  def read_checked():
    if math.prod(shape) > MOST_NUMBERS:
      raise ValueError(f"{path}: {name} claims the shape {shape}, more than {MOST_NUMBERS} numbers")
    try:
      return _as_float32(np.asarray(read()), shape)
    except READ_ERRORS as error:
      raise ValueError(f"{path}: {name} cannot be read: {error}") from error
  return Lazy(shape, read_checked)


def _as_float32(array, shape):
  # numpy would make numbers of text, and drop the imaginary part.
  if array.dtype in (np.int8, np.uint8):
    raise ValueError(f"it holds {array.dtype}, not floats: is the file quantised?")
  if not jnp.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
    raise ValueError(f"it holds {array.dtype}, not real numbers")
  if array.shape != shape:
    raise ValueError(f"it has shape {array.shape}, but the file says {shape}")
  with np.errstate(over="ignore"):  # Infinite values are reported on use.
    return array.astype(np.float32, copy=False)


def plain_shape(shape: Iterable[SupportsInt]) -> tuple[int, ...]:
  """Returns a shape of Caffe without the leading ones with which older versions made it 4-D.

  (1, 1, 1, n) is a vector and (1, 1, m, n) a matrix; others are returned as they are.
  """
  shape = tuple(int(side) for side in shape)
  if len(shape) == 4 and shape[:2] == (1, 1):
    return shape[3:] if shape[2] == 1 else shape[2:]
  return shape
