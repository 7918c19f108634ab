"""Masks as COCO's compressed RLE with text counts: written, read and measured by pycocotools.

It does not check its input. What files have is checked before, in `segmentation.py`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask

from mnc_jax.coco.run_lengths import decompress_runs, join_runs

# Its type stubs lack most of the arguments that it takes.
_mask_api: Any = mask
# Pixels an image may have. Its RGB takes three bytes of each, and pycocotools keeps run lengths
# in 32 bits. Larger pictures are cut into tiles (11 600 x 11 600 still pass).
MOST_PIXELS = 2 ** 27
# Of all masks of an image, a byte each: a few hundred bytes of run lengths can claim terabytes. 375
# instances of 12 megapixels each are below it.
_MOST_MASK_PIXELS = 2 ** 32

Rle = dict[str, Any]  # {"size": [height, width], "counts": text}.


def with_text(rle: Rle) -> Rle:
  """Returns an RLE of pycocotools with counts that `json` can write."""
  counts = rle["counts"]
  return {"size": [int(side) for side in rle["size"]],
          "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def encode_mask(mask: np.ndarray) -> Rle:
  """Returns the RLE of a [h, w] mask of zeros and ones."""
  return encode_masks(np.asarray(mask)[None])[0]


def encode_masks(masks: np.ndarray) -> list[Rle]:
  """Returns the RLE of each of [n, h, w] masks of zeros and ones."""
  columns = np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8)
  return [with_text(rle) for rle in _mask_api.encode(columns)]


def encode_window(mask: np.ndarray, window: tuple[slice, slice], size: tuple[int, int]) -> Rle:
  """Returns the RLE of an image of which all ones are in a window; only the window is read.

  Args:
    mask: [h, w] bool or uint8, zeros and ones in the window.
    window: rows and columns of the image, h and w of them.
    size: (height, width) of the image.
  """
  height, width = mask.shape
  padded = np.zeros((width, height + 2), bool)
  padded[:, 1:-1] = np.ascontiguousarray(mask.T)
  columns, rows = divmod(np.flatnonzero(padded[:, 1:] != padded[:, :-1]), height + 1)
  ends = (columns + window[1].start) * size[0] + rows + window[0].start
  # Runs that end at the bottom of a column may begin again at the top of the next.
  lengths = np.diff(ends, prepend=0, append=size[0] * size[1])
  return encode_runs(join_runs(lengths), *size)


def decode_window(rle: Rle, window: tuple[slice, slice]) -> np.ndarray:
  """Returns the [h, w] uint8 part of a mask in a window; only its columns are decoded.

  Args:
    rle: compressed, of a whole image.
    window: rows and columns, inside the image.
  """
  height, columns, counts = rle["size"][0], window[1], rle["counts"]
  # pycocotools itself gives bytes.
  ends = np.cumsum(decompress_runs(counts if isinstance(counts, bytes) else counts.encode()))
  inside = np.clip(ends - columns.start * height, 0, (columns.stop - columns.start) * height)
  values = np.arange(len(ends), dtype=np.uint8) & 1
  pixels = np.repeat(values, np.diff(inside, prepend=0))
  return np.ascontiguousarray(pixels.reshape(-1, height).T[window[0]])


def decode_tight(rle: Rle) -> tuple[np.ndarray, tuple[slice, slice]]:
  """Returns the [h, w] uint8 part of a mask in its tight box, and that window of the image."""
  window = mask_window(rle)
  return decode_window(rle, window), window


def encode_runs(lengths: Sequence[int], height: int, width: int) -> Rle:
  """Returns the RLE of runs down the columns, of zeros and ones in turn; zeros come first."""
  uncompressed = {"size": [height, width], "counts": lengths}
  return with_text(_mask_api.frPyObjects(uncompressed, height, width))


def draw_outlines(outlines: list[list[float]], height: int, width: int) -> Rle:
  """Returns the RLE of the union of polygons `[x1, y1, x2, y2, ...]`, clipped to the image."""
  return with_text(_mask_api.merge(_mask_api.frPyObjects(outlines, height, width)))


def decode_masks(rles: list[Rle], size: tuple[int, int]) -> np.ndarray:
  """Returns [n, h, w] uint8 masks of `rles` that all have the same (h, w) `size`.

  Raises:
    ValueError: if they have more pixels together than `_MOST_MASK_PIXELS`.
  """
  if len(rles) * int(size[0]) * int(size[1]) > _MOST_MASK_PIXELS:
    raise ValueError(f"{len(rles)} masks of {size[0]} x {size[1]} pixels are more than "
                     f"{_MOST_MASK_PIXELS} pixels together: cut the image into tiles")
  masks = np.zeros((len(rles), *size), np.uint8)
  # Only where they are: 20 objects on 12 megapixels would take 1.8 s as a whole.
  for whole, rle in zip(masks, rles, strict=True):
    part, window = decode_tight(rle)
    whole[window] = part
  return masks


def decode_mask(rle: Rle) -> np.ndarray:
  """Returns the [h, w] uint8 mask of `rle`."""
  return _mask_api.decode(rle)


def mask_area(rle: Rle) -> int:
  """Returns the number of pixels of a mask."""
  return int(_mask_api.area(rle))


def mask_box(rle: Rle) -> list[float]:
  """Returns the tight box of a mask, `[x, y, width, height]`."""
  return _mask_api.toBbox(rle).tolist()


def mask_window(rle: Rle) -> tuple[slice, slice]:
  """Returns the rows and columns of the tight box of a mask."""
  x, y, width, height = map(int, mask_box(rle))
  return slice(y, y + height), slice(x, x + width)


def mask_boxes(rles: list[Rle]) -> np.ndarray:
  """Returns the tight boxes of masks, [n, 4] float64; zeros for an empty mask."""
  return np.asarray(_mask_api.toBbox(rles), np.float64).reshape(-1, 4)


def measure_iou(found: list | np.ndarray, ground_truth: list | np.ndarray, crowd: np.ndarray
                ) -> np.ndarray:
  """Returns the IoU of every pair of masks, or of boxes `[x, y, width, height]`.

  Args:
    found: D RLEs, or D boxes (float64 if an array).
    ground_truth: G of the same, at least one of both.
    crowd: [G] uint8, 1 for crowd regions: there the union is replaced by the area found.

  Returns:
    [D, G] float64.
  """
  return _mask_api.iou(found, ground_truth, crowd)
