"""Arrays of NumPy's .npz files."""

import zipfile

import numpy as np

from mnc_jax.weights.lazy import READ_ERRORS, lazy_array

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path):
  """Returns `({name: Lazy}, {})` of `path`; of each array only the header is read.

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
  with archive.open(name) as member:
    version = np.lib.format.read_magic(member)
    if version not in _HEADERS:
      raise ValueError(f"{name} has version {version}")
    return _HEADERS[version](member)[0]


def _read(path, name):
  # An array of Python objects would be a pickle, and is refused.
  with np.load(path, allow_pickle=False) as file:
    return file[name]
