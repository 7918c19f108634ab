"""Finds what was damaged after it was saved: files that cannot be read, and other numbers."""

import pathlib
import zlib

import numpy as np
import tensorstore

from mnc_jax.weights.tree import leaves_by_path


def check_files(folder: pathlib.Path) -> None:
  """Reads all that is stored of one item of a checkpoint, entry by entry.

  Orbax reads all entries at once, leaves at the first that fails, and each of the others, which
  find nobody to tell, then prints a traceback.

  Args:
    folder: of the item, in tensorstore's OCDBT format.

  Raises:
    ValueError: if something is missing, cut off or not of the format.
  """
  store = tensorstore.KvStore.open({"driver": "ocdbt", "base": folder.as_uri() + "/"}).result()
  for key in store.list().result():
    if not store.read(key).result().value:  # What a file that is missing reads as.
      raise ValueError(f"the file of {key.decode()} is missing")


def compute_checksums(tree) -> dict[str, int]:
  """Returns the CRC-32 of each array of a tree by its path; the saved format has none."""
  return {path: zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8))
          for path, leaf in leaves_by_path(tree).items()}


def check_checksums(tree, saved: dict[str, int]) -> None:
  """Compares arrays with the checksums that they were saved with.

  Args:
    tree: of arrays.
    saved: from `compute_checksums`; paths that are not in it pass.

  Raises:
    ValueError: naming the first array that differs.
  """
  for path, checksum in compute_checksums(tree).items():
    if saved.get(path, checksum) != checksum:
      raise ValueError(f"{path} is not what was saved")
