"""Arrays of HDF5 files: those of Keras, and Caffe's .caffemodel.h5."""

import pathlib
from typing import cast

import h5py

from mnc_jax.weights.formats.lazy import READ_ERRORS, Lazy, lazy_array, plain_shape


def read_hdf5(path: pathlib.Path) -> tuple[dict[str, Lazy], dict[str, str]]:
  """Returns `({name: Lazy}, {})` of `path`; names are the file's, without a leading slash.

  Caffe's arrays at `data/<layer>/<number>` are named `<layer>/<number>` as in its other format.

  Raises:
    ValueError: if the file cannot be read.
  """
  shapes = {}

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
  return {_plain_name(name): lazy_array(path, name, *_reader(path, name, shape))
          for name, shape in shapes.items()}, {}


def _is_caffe(name):
  return name.startswith("data/") and name.rpartition("/")[2].isdigit()


def _plain_name(name):
  return name.removeprefix("data/") if _is_caffe(name) else name


def _reader(path, name, shape):
  plain = plain_shape(shape) if _is_caffe(name) else shape

  def read():
    with h5py.File(path) as file:
      return cast(h5py.Dataset, file[name])[()].reshape(plain)

  return plain, read
