"""Checksums of saved arrays: the format they are written in has none for the numbers."""

import zlib

import numpy as np

from mnc_jax.tree_shapes import leaves_by_path


def compute_checksums(tree) -> dict[str, int]:
  """Returns the CRC-32 of each array of a tree by its path."""
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
