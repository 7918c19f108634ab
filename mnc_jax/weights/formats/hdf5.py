"""Arrays of HDF5 files: those of Keras, and Caffe's .caffemodel.h5."""

import functools
import pathlib
from typing import cast

import h5py
import numpy as np

from mnc_jax.weights.formats.lazy import READ_ERRORS, Lazy, lazy_array, plain_shape


def read_hdf5(path: pathlib.Path) -> tuple[dict[str, Lazy], dict[str, str]]:
  """Returns `({name: Lazy}, {})` of `path`; names are the file's, without a leading slash.

  Caffe's arrays at `data/<layer>/<number>` are named `<layer>/<number>` as in its other format.

  Raises:
    ValueError: if the file cannot be read.
  """
  shapes, arrays = {}, {}

  def note(name, item):
    if isinstance(item, h5py.Dataset):
      if item.is_virtual or item.external:
        raise ValueError(f"{name} is stored in another file, which is not opened: copy its "
                         "numbers into this one")
      shapes[name] = item.shape or ()

  try:
    with h5py.File(path) as file:
      file.visititems(note)
  except READ_ERRORS as error:
    raise ValueError(f"{path} cannot be read as HDF5: {error}") from error
  for name, shape in shapes.items():
    caffe = name.startswith("data/") and name.rpartition("/")[2].isdigit()
    plain = plain_shape(shape) if caffe else shape
    arrays[name.removeprefix("data/") if caffe else name] = lazy_array(
        path, name, plain, functools.partial(_read, path, name, plain))
  return arrays, {}


def _read(path, name, shape) -> np.ndarray:
  with h5py.File(path) as file:
    return cast(h5py.Dataset, file[name])[()].reshape(shape)
