"""Images and files of labels as YOLO has them."""

import pathlib

import cv2
import numpy as np

TRIANGLE = "0 0 0 1 0 1 1\n"  # Half of the image.


def write_image(path: pathlib.Path, *, size: tuple[int, int] = (40, 60)) -> None:
  """Writes an image that is grey by the length of its name."""
  path.parent.mkdir(parents=True, exist_ok=True)
  cv2.imwrite(str(path), np.full((*size, 3), len(path.name), np.uint8))


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a text file, and its folder if there is none."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)


def write_labelled(path: pathlib.Path, *, lines: str = TRIANGLE) -> None:
  """Writes an image `.../images/.../NAME.png` and its labels `.../labels/.../NAME.txt`."""
  write_image(path)
  before, _, after = path.with_suffix(".txt").as_posix().rpartition("/images/")
  write_text(pathlib.Path(f"{before}/labels/{after}"), lines)
