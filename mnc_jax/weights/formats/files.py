"""Opens weight files of five formats, recognised by their content, not by their name."""

import pathlib
import zipfile

from mnc_jax.weights.formats.caffemodel import is_caffemodel, read_caffemodel
from mnc_jax.weights.formats.hdf5 import read_hdf5
from mnc_jax.weights.formats.lazy import READ_ERRORS, Lazy, WeightsFile
from mnc_jax.weights.formats.npz import read_npz
from mnc_jax.weights.formats.pytorch import read_torch
from mnc_jax.weights.formats.safetensors_file import read_safetensors

__all__ = ("Lazy", "WeightsFile", "open_file")

_READERS = {"npz": read_npz, "hdf5": read_hdf5, "safetensors": read_safetensors,
            "torch": read_torch, "caffemodel": read_caffemodel}
_HEAD = 64
# The number 0x1950a86a20f9469cfc6c, pickled, begins PyTorch's files of before version 1.6.
_OLD_TORCH = bytes.fromhex("6cfc9c46f9206aa85019")


def open_file(path: str | pathlib.Path) -> WeightsFile:
  """Lists the arrays of a file without reading them.

  Args:
    path: of an .npz, HDF5 (Keras, Caffe), safetensors, PyTorch or Caffe protobuf file.

  Returns:
    `WeightsFile`. Its arrays are read from `path` later, so the file must remain there.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is of no known format, damaged, truncated, a pickle that may hold code, or a
      PyTorch file and PyTorch is not installed.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"{path}: no such file" if not path.exists() else
                            f"{path} is a folder: give the weight file in it")
  container = _container(path)
  arrays, metadata = _READERS[container](path)
  if not arrays:
    raise ValueError(f"{path} ({container}) holds no array")
  return WeightsFile(path, container, arrays, metadata)


def _container(path):
  """Returns the format of a file by its first bytes."""
  with path.open("rb") as file:
    head = file.read(_HEAD)
  if not head:
    raise ValueError(f"{path} is empty")
  if head.startswith(b"PK\x03\x04"):
    return _kind_of_zip(path)
  if head.startswith(b"\x89HDF\r\n\x1a\n"):
    return "hdf5"
  if head[8:9] == b"{":  # After the length of the header, 8 bytes.
    return "safetensors"
  if _OLD_TORCH in head[:32]:
    return "torch"
  if head.startswith(b"\x80"):
    raise ValueError(f"{path} is a pickle, which could run any code, so it is not opened: "
                     "save its arrays with numpy.savez or safetensors")
  if is_caffemodel(path):
    return "caffemodel"
  raise ValueError(
      f"{path} is not a weight file: it begins with {head[:16]!r}, and is neither .npz, HDF5 "
      "(.h5), .safetensors, PyTorch (.pth) nor .caffemodel")


def _kind_of_zip(path):
  try:
    with zipfile.ZipFile(path) as archive:
      names = {pathlib.PurePosixPath(name).name for name in archive.namelist()}
  except READ_ERRORS as error:
    raise ValueError(f"{path} begins as .npz and .pth files do, but cannot be read as one: "
                     f"{error}. Is it truncated?") from error
  if "model.weights.h5" in names:
    raise ValueError(f"{path} is an archive of Keras: unzip it, and give the file "
                     "model.weights.h5 that was in it")
  if "model.json" in names and any(name.endswith(".jax") for name in names):
    raise ValueError(f"{path}: programs of mnc export only run, as docs/deploy.md shows: give the "
                     "workdir or .safetensors file that they were made of")
  if "constants.pkl" in names:
    raise ValueError(f"{path} is a TorchScript program, not a weight file: save the module's "
                     "state_dict() with torch.save")
  return "torch" if "data.pkl" in names else "npz"
