"""Disjoint masks as one image of labels: the value of a pixel is the number of its instance."""

import pathlib

import numpy as np

from mnc_jax.coco.rle import encode_runs
from mnc_jax.data import decoding
from mnc_jax.data.images import DEFAULT_OPTIONS, ImageOptions, read_file
from mnc_jax.data.orientation import turn
from mnc_jax.data.readers.npy import read_array

# 8 bits, 16 bits (of either byte order), 32 bits, floats, palette, black and white.
_LABEL_MODES = ("L", "I;16", "I;16B", "I", "F", "P", "1")
_LARGEST = np.iinfo(np.int32).max
# Changes of label down the columns; each takes some 60 bytes while masks are made. One in 8 pixels
# of the largest image: what has more is a picture, not labels.
_MOST_RUNS = 2 ** 24


def read_label_map(path: pathlib.Path, *, options: ImageOptions = DEFAULT_OPTIONS) -> np.ndarray:
  """Returns the [h, w] int32 labels of the image or .npy at `path`; of a palette, the indices.

  An EXIF orientation is followed or ignored as in images, by `options.exif`.

  Raises:
    ValueError: if the file is missing, damaged, or has more than one channel, or numbers that are
      no labels.
  """
  try:
    encoded = read_file(path)
  except ValueError as error:
    raise ValueError(f"cannot read label image {error}") from error
  try:
    labels = _whole_numbers(read_array(encoded) if path.suffix.lower() == ".npy"
                            else _read_channel(encoded, options))
  except ValueError as error:
    raise ValueError(f"label image {path} {error}") from error
  _check_runs(path, labels)
  return labels


def _read_channel(encoded, options):
  values, mode, orientation = decoding.decode_indices(encoded)
  if mode not in _LABEL_MODES:
    raise ValueError(f"has colours (mode {mode}): one channel of 8 or 16 bits is needed, in which "
                     "each value is an instance")
  return turn(values, orientation) if options.exif == "upright" else values


def _whole_numbers(array):
  """Returns labels as int32; ImageJ and numpy keep them as any type of number."""
  if array.dtype.itemsize == 2 and array.dtype.kind == "f":
    array = array.astype(np.float32)  # Which holds the largest label.
  with np.errstate(invalid="ignore"):  # NaN is unequal to its own floor.
    bad = array[(array != np.floor(array)) | (array < 0) | (array > _LARGEST)]
  if bad.size:
    below = ", below 0" if bad[0] < 0 else f": whole numbers up to {_LARGEST} are needed"
    raise ValueError(f"has the label {bad[0]}{below}")
  return array.astype(np.int32)


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
