"""What a writer is given: where to write, and for each image what was found in it."""

from collections.abc import Callable
import pathlib
from typing import Any, NamedTuple

import numpy as np


class Target(NamedTuple):
  """What all images have in common.

  Attributes:
    folder: of the output; it exists.
    category_names: {category id: name}.
    tally: adds a number to a sentence that is printed at the end, for what a format cannot hold.
    keep_files: whether image files are as viewers show them. If not, as when one page of several
      was read, a copy of the pixels stands for the file.
    frame_rate: frames per second of the video, if the images are its frames.
    is_live: whether frames come as they are filmed, faster than they may be processed.
  """
  folder: pathlib.Path
  category_names: dict[int, str]
  tally: Callable[[str, int], None]
  keep_files: bool = True
  frame_rate: float = 0.0
  is_live: bool = False


class Found(NamedTuple):
  """One image with its instances.

  Attributes:
    name: of the files that are written for it, without suffix.
    file_name: that results give as the image's own.
    path: of the file; None for a frame of a video.
    pixels: [h, w, 3] uint8 RGB, as the model saw it.
    records: COCO results, all of them.
    confident: those that reach --min-score, the best first. The first is instance 1 in every
      format that numbers them.
  """
  name: str
  file_name: str
  path: pathlib.Path | None
  pixels: np.ndarray
  records: list[dict[str, Any]]
  confident: list[dict[str, Any]]


class FormatError(ValueError):
  """What was found in an image cannot be written in a format; the other images can."""


Writer = Callable[[Found], None]
