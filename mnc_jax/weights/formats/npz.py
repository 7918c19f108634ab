"""Arrays of NumPy's .npz files."""

import math
import pathlib
import zipfile

import numpy as np

from mnc_jax.weights.formats.lazy import READ_ERRORS, Lazy, lazy_array

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0}

# zipfile unpacks others, such as bzip2, four kilobytes at a time, to any size: 12 kilobytes became
# 256 megabytes while the header of an array was read.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_npz(path: pathlib.Path) -> tuple[dict[str, Lazy], dict[str, str]]:
  """Returns `({name: Lazy}, {})` of `path`, from the headers of the arrays.

  Raises:
    ValueError: if the archive or a header cannot be read.
  """
  try:
    with zipfile.ZipFile(path) as archive:
      names = [name for name in archive.namelist() if name.endswith(".npy")]
      shapes = {name.removesuffix(".npy"): _shape(archive, name) for name in names}
  except READ_ERRORS as error:
    raise ValueError(f"{path} cannot be read as .npz: {error}") from error
  return {name: lazy_array(path, name, shape, lambda name=name: _read(path, name))
          for name, shape in shapes.items()}, {}


def _shape(archive, name):
  if archive.getinfo(name).compress_type not in _METHODS:
    raise ValueError(f"{name} is compressed in a way that numpy does not write")
  with archive.open(name) as member:
    shape, _, dtype = _header(member, name)
    _check_size(archive.getinfo(name), shape, dtype, member.tell())
    return shape


def _header(member, name):
  version = np.lib.format.read_magic(member)
  if version not in _HEADERS:
    raise ValueError(f"{name} has version {version}")
  return _HEADERS[version](member)


def _check_size(entry, shape, dtype, header_size):
  """Rejects an entry that unpacks to more, or less, than its array has."""
  expected = header_size + math.prod(shape) * dtype.itemsize
  if not dtype.hasobject and entry.file_size != expected:
    raise ValueError(f"{entry.filename} has {entry.file_size} bytes, but its array of shape "
                     f"{shape} needs {expected}")


def _read(path, name):
  # An array of Python objects would be a pickle; it raises.
  with np.load(path, allow_pickle=False) as file:
    return file[name]
