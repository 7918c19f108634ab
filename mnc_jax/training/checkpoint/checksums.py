"""Finds damage to a saved checkpoint: files that cannot be read, and changed numbers."""

import pathlib
from typing import Any
import zlib

import numpy as np
import tensorstore

from mnc_jax.weights.tree import leaves_by_path


def check_files(folder: pathlib.Path) -> None:
  """Reads one item of a checkpoint, entry by entry.

  Orbax reads entries concurrently and stops at the first error; the other reads then log
  tracebacks.

  Args:
    folder: of the item, in tensorstore's OCDBT format.

  Raises:
    ValueError: if something is missing, cut off or not in the format.
  """
  store = tensorstore.KvStore.open({"driver": "ocdbt", "base": folder.as_uri() + "/"}).result()
  for key in store.list().result():
    if not store.read(key).result().value:  # A missing file reads as empty.
      raise ValueError(f"the file of {key.decode()} is missing")


def compute_checksums(tree: Any) -> dict[str, int]:
  """Returns the CRC-32 of each array of a tree by its path; the saved format has none."""
  return {path: zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
          for path, leaf in leaves_by_path(tree).items()}


def check_checksums(tree: Any, saved: dict[str, int]) -> None:
  """Raises ValueError for the first array of a tree that is not what was `saved`.

  Args:
    tree: of arrays.
    saved: from `compute_checksums`; arrays that are not in it pass.
  """
  for path, checksum in compute_checksums(tree).items():
    if saved.get(path, checksum) != checksum:
      raise ValueError(f"{path} is not what was saved")
