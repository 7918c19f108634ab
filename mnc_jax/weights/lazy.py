"""Arrays of a file that are read when they are needed, one at a time."""

from collections.abc import Callable
import pathlib
import struct
from typing import NamedTuple
import zipfile
import zlib

import numpy as np

# What libraries raise on a damaged file.
READ_ERRORS = (OSError, ValueError, TypeError, LookupError, EOFError, RuntimeError, struct.error,
               zipfile.BadZipFile, zlib.error)


class Lazy(NamedTuple):
  """An array of a file, not read yet.

  Attributes:
    shape: of what `read` returns.
    read: () -> float32 numpy array. It reads the file anew each time, keeps nothing, and raises
      a ValueError that names file and array if that fails.
  """
  shape: tuple
  read: Callable[[], np.ndarray]


class WeightsFile(NamedTuple):
  """A file of arrays, whatever its format.

  Attributes:
    path: of the file.
    container: "npz", "hdf5", "safetensors", "torch" or "caffemodel".
    arrays: by the file's own names; those of Caffe are "<layer>/0" and "<layer>/1" in both of
      its formats.
    metadata: {str: str}, what else the file says of itself.
  """
  path: pathlib.Path
  container: str
  arrays: dict
  metadata: dict


def lazy_array(path, name: str, shape, read) -> Lazy:
  """Returns an array whose faults are told with the names of file and array.

  Args:
    path: of the file.
    name: of the array in the file.
    shape: of the array.
    read: () -> array of any floating dtype, which becomes float32.
  """
  def read_or_tell():
    try:
      return np.asarray(read()).astype(np.float32, copy=False)
    except READ_ERRORS as error:
      raise ValueError(f"{path}: {name} cannot be read: {error}") from error
  return Lazy(tuple(int(side) for side in shape), read_or_tell)


def plain_shape(shape) -> tuple:
  """Returns a shape of Caffe without the leading ones that older versions padded it with to 4-D.

  (1, 1, 1, n) is a vector and (1, 1, m, n) a matrix; others stay.
  """
  shape = tuple(int(side) for side in shape)
  if len(shape) == 4 and shape[:2] == (1, 1):
    return shape[3:] if shape[2] == 1 else shape[2:]
  return shape
