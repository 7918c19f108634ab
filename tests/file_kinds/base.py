"""A small data set that each kind of file is made from: a bright square in each dark image."""

from collections.abc import Callable
import json
import pathlib
from typing import NamedTuple

import numpy as np

SIDE = 64
IMAGES = {"train": 3, "val": 2}


class Kind(NamedTuple):
  """One kind of real files.

  Attributes:
    write: makes the source in an empty folder.
    expected: "read", or a pattern of the error.
    remark: pattern of a warning; "" if there must be none of the set.
    dataset: name of the reader.
    instances: found in all images together.
    iou: least, of the masks of an image with its bright pixels; JPEG blurs the edges.
    options: of `mnc prepare`.
    data: fields of DataConfig that differ.
  """
  write: Callable[[pathlib.Path], None]
  expected: str = "read"
  remark: str = ""
  dataset: str = "coco"
  instances: int = sum(IMAGES.values())
  iou: float = 0.95
  options: tuple[str, ...] = ()
  data: dict = {}


def square(number: int) -> tuple[int, int, int, int]:
  """Returns (left, top, width, height) of the square in image `number`."""
  return 6 + 4 * number, 10 + 3 * number, 20, 30


def draw(number: int) -> np.ndarray:
  """Returns the [64, 64, 3] uint8 picture: no symmetry maps it to itself."""
  left, top, width, height = square(number)
  picture = np.full((SIDE, SIDE, 3), (30, 40, 50), np.uint8)
  picture[top:top + height, left:left + width] = (220, 210, 200)
  return picture


def numbers() -> list[tuple[str, int]]:
  """Returns (split, number) of all images."""
  return [("train" if number < IMAGES["train"] else "val", number)
          for number in range(sum(IMAGES.values()))]


def annotate(split: str, *, suffix: str = ".png") -> dict:
  """Returns the COCO file of a split, with polygons."""
  rows = [number for part, number in numbers() if part == split]
  return {
      "images": [{"id": number + 1, "file_name": f"{number}{suffix}", "height": SIDE,
                  "width": SIDE} for number in rows],
      "annotations": [annotate_square(number) for number in rows],
      "categories": [{"id": 7, "name": "square"}]}


def annotate_square(number: int) -> dict:
  """Returns the annotation of the square of an image."""
  left, top, width, height = square(number)
  right, bottom = left + width, top + height
  return {"id": number + 1, "image_id": number + 1, "category_id": 7, "iscrowd": 0,
          "area": width * height, "bbox": [left, top, width, height],
          "segmentation": [[left, top, right, top, right, bottom, left, bottom]]}


def write_json(path: pathlib.Path, content) -> None:
  """Writes JSON, and the folder that it is in."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(content))


def write_coco(folder: pathlib.Path, save: Callable[[pathlib.Path, np.ndarray], None], *,
               suffix: str = ".png", change: Callable[[dict], None] = lambda content: None) -> None:
  """Writes the set in COCO's layout; `save` writes a picture, `change` edits a file's content."""
  for split in IMAGES:
    content = annotate(split, suffix=suffix)
    change(content)
    write_json(folder / f"instances_{split}.json", content)
    (folder / split).mkdir()
  for split, number in numbers():
    save(folder / split / f"{number}{suffix}", draw(number))
