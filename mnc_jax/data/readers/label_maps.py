"""Disjoint masks as one image of labels: the value of a pixel is the number of its instance."""

import pathlib

import numpy as np

from mnc_jax.coco.rle import encode_runs
from mnc_jax.data.images import open_image, read_file

# 8 bits, 16 bits (of either byte order), 32 bits, palette, black and white.
_LABEL_MODES = ("L", "I;16", "I;16B", "I", "P", "1")
# Changes of label down the columns; each takes some 60 bytes while masks are made. One in 8 pixels
# of the largest image: what has more is a picture, not labels.
_MOST_RUNS = 2 ** 24


def read_label_map(path: pathlib.Path) -> np.ndarray:
  """Returns the [h, w] integer labels of the image at `path`; of a palette, the indices.

  Raises:
    ValueError: if the file is missing, damaged, or has more than one channel.
  """
  try:
    encoded = read_file(path)
  except ValueError as error:
    raise ValueError(f"cannot read label image {error}") from error
  try:
    image = open_image(encoded)
  except ValueError as error:
    raise ValueError(f"label image {path} {error}") from error
  if image.mode not in _LABEL_MODES:
    raise ValueError(f"label image {path} has colours (mode {image.mode}): one channel of 8 or 16 "
                     "bits is needed, in which each value is an instance")
  labels = np.asarray(image).astype(np.int32)
  if labels.min(initial=0) < 0:
    raise ValueError(f"label image {path} has the label {labels.min()}, below 0")
  _check_runs(path, labels)
  return labels


def _check_runs(path, labels):
  runs = np.count_nonzero(labels[1:] != labels[:-1])
  if runs > _MOST_RUNS:
    raise ValueError(f"label image {path} changes its label {runs} times, more than {_MOST_RUNS}: "
                     "it is a picture, not labels")


def encode_labels(labels: np.ndarray) -> dict[int, dict]:
  """Returns the COCO RLE of each label but 0, counts as text, in order of the labels.

  All are found in one pass: hundreds of masks of a whole image would fill the memory.

  Args:
    labels: [h, w] int.
  """
  flat = labels.ravel(order="F")  # Runs go down the columns.
  starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
  runs = np.stack([starts, np.append(starts[1:], flat.size)], axis=1)
  order = np.argsort(flat[starts], kind="stable")
  values, firsts = np.unique(flat[starts][order], return_index=True)
  groups = np.split(runs[order], firsts[1:])
  return {int(value): _encode_runs(group, labels.shape)
          for value, group in zip(values, groups, strict=True) if value}


def _encode_runs(runs, size):
  """Returns the RLE of pixels runs[:, 0] ... runs[:, 1] - 1, which do not touch."""
  height, width = size
  bounds = np.concatenate([[0], runs.ravel(), [height * width]])
  lengths = np.diff(bounds).tolist()
  if not lengths[-1]:
    lengths.pop()
  return encode_runs(lengths, height, width)
