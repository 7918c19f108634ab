"""labels/NAME.png: label images of 16 bits, as microscopists use them and we read them.

Background is 0, instance i of an image has the value i, and of instances that overlap the better
one has the pixels.
"""

from collections.abc import Iterator, Sequence
import contextlib
import io
import pathlib

import numpy as np
import PIL.Image

from mnc_jax.coco.rle import Rle, decode_tight
from mnc_jax.evaluation.writers.found import FormatError, Found, Target, Writer

FOLDER = "labels"
_MOST = np.iinfo(np.uint16).max


def list_files(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
  """Returns the files of an image called `name`."""
  return [folder / FOLDER / f"{name}.png"]


@contextlib.contextmanager
def open_writer(target: Target) -> Iterator[Writer]:
  """Yields a function that writes the label image of an image.

  It raises FormatError if there are more instances than values.
  """
  (target.folder / FOLDER).mkdir(parents=True, exist_ok=True)
  def write(found: Found) -> None:
    labels = draw_labels([record["segmentation"] for record in found.confident],
                         found.pixels.shape[:2])
    seen = np.zeros(_MOST + 1, bool)
    for row in labels:  # As an index, an image takes four times its memory.
      seen[row] = True
    hidden = len(found.confident) - int(np.count_nonzero(seen[1:]))
    target.tally("Instances without a pixel in their label image, since better ones cover them",
                 hidden)
    file = io.BytesIO()
    PIL.Image.fromarray(labels).save(file, "PNG", compress_level=1)
    (path,) = list_files(target.folder, found.name)
    path.write_bytes(file.getvalue())
  yield write


def draw_labels(masks: Sequence[Rle], size: tuple[int, int]) -> np.ndarray:
  """Returns a label image: the first mask has the value 1, and lies on top of the others.

  Args:
    masks: compressed RLE of the image's size, the best first.
    size: (height, width).

  Returns:
    [height, width] uint16, 0 where no mask is.

  Raises:
    FormatError: if there are more masks than 65535.
  """
  if len(masks) > _MOST:
    raise FormatError(f"{len(masks)} instances, but a label image of 16 bits holds {_MOST}: raise "
                      "--min-score, or cut the image")
  labels = np.zeros(size, np.uint16)
  for value, rle in reversed(list(enumerate(masks, 1))):
    mask, window = decode_tight(rle)
    labels[window][mask > 0] = value
  return labels
