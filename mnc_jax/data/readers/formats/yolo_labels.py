"""Files of labels of YOLO: which belongs to which image, and what their lines say.

The labels of `.../images/.../NAME.jpg` are in `.../labels/.../NAME.txt`, both folders in any case;
those of an image in no folder `images` are beside it.
"""

import collections
from collections.abc import Collection, Iterable, Sequence
import math
import os
import pathlib
from typing import NamedTuple

from mnc_jax.coco.faults import Fault, FaultReport, list_first
from mnc_jax.data.image_files import find_images

_FARTHEST = 1.5  # Of the image's side; what is farther out is in pixels.
_FEWEST_WORDS = 5  # Of a line of labels: a class and a box.


class _Place(NamedTuple):
  """Of a folder with images: the one called `images`, that of labels, and its path in the first."""
  images: pathlib.Path
  labels: pathlib.Path
  inner: pathlib.Path


def match_labels(folder: pathlib.Path, images: Iterable[pathlib.Path], report: FaultReport
                 ) -> dict[pathlib.Path, pathlib.Path | None]:
  """Returns {image: its file of labels, or None}.

  Images that share a file of labels, as `a.jpg` and `a.png` do, go to `report` and are left out:
  it is not known whose they are. So does one with two such files.

  Args:
    folder: of the data set. Above it no folder `images` counts.
    images: below it, of all splits.
    report: takes the faults.
  """
  labels = {part: _list_labels(place.labels / place.inner)
            for part, place in _locate_all(folder, images).items()}
  found = {image: labels[image.parent].get(image.stem, []) for image in images}
  owners = collections.defaultdict(list)
  for image, paths in found.items():
    for path in paths:
      owners[path].append(image)
  shared = {image: path for path, several in owners.items() if len(several) > 1
            for image in several}
  for image, path in shared.items():
    report(Fault("image", f"image {image}: the labels {path} are those of "
                          f"{list_first(one.name for one in owners[path])}: keep one of these "
                          "images, or rename it and give it labels of its own"))
  for image, paths in found.items():
    if len(paths) > 1 and image not in shared:
      report(Fault("image", f"image {image} has {len(paths)} files of labels in {paths[0].parent}: "
                            f"{list_first(path.name for path in paths)}: keep one of them"))
  return {image: paths[0] if paths else None for image, paths in found.items()
          if len(paths) < 2 and image not in shared}


def name_folders(folder: pathlib.Path, images: Sequence[pathlib.Path]) -> list[pathlib.Path]:
  """Returns the folders in which `match_labels` looks for the labels of images."""
  return [place.labels / place.inner for place in _locate_all(folder, images).values()]


def report_strays(folder: pathlib.Path, images: Sequence[pathlib.Path], report: FaultReport
                  ) -> None:
  """Reports the files of labels of no image, in the folders where `images` have theirs.

  An image that no split has counts too. Other text, such as a classes.txt, is no file of labels.
  """
  places = dict.fromkeys(place[:2] for place in _locate_all(folder, images).values())
  for images_folder, labels_folder in places:
    pattern = "*" if images_folder == labels_folder else "**/*"
    known = {image.relative_to(images_folder).with_suffix("")
             for image in find_images(images_folder, pattern=pattern)}
    for path in sorted(filter(_is_text, labels_folder.glob(pattern))):
      if path.relative_to(labels_folder).with_suffix("") not in known and _holds_labels(path):
        report(Fault("image", f"label file {path} has no image in {images_folder}"))


def reject_unlisted(folder: pathlib.Path) -> None:
  """Raises ValueError if a folder has images and labels as YOLO's sets have, to ask for a yaml."""
  parts = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
  if "images" in parts and "labels" in parts and any(
      _is_text(path) and _holds_labels(path) for path in parts["labels"].rglob("*")):
    others = sorted(path.name for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
    unread = (f" ({list_first(others)} there is none: not YAML in UTF-8, or without one of these)"
              if others else "")
    raise ValueError(
        f"{parts['labels']} looks like YOLO's: a data.yaml with `names` and `train: images` is "
        f"needed in {folder}{unread}, such as (names in the order of the classes, see a "
        f"classes.txt)\n  names: [cat, dog]\n  train: {parts['images'].name}")


def _locate_all(folder, images) -> dict[pathlib.Path, _Place]:
  return {part: _locate(folder, part) for part in dict.fromkeys(image.parent for image in images)}


def _locate(folder, part) -> _Place:
  folder, part = (pathlib.Path(os.path.abspath(path)) for path in (folder, part))
  if not part.is_relative_to(folder):  # By a link.
    folder, part = folder.resolve(), part.resolve()
  names = part.relative_to(folder).parts
  last = max((index for index, name in enumerate(names) if name.lower() == "images"), default=None)
  if last is None:
    return _Place(part, part, pathlib.Path())
  parent = folder.joinpath(*names[:last])
  return _Place(parent / names[last], _find_labels_folder(parent),
                pathlib.Path(*names[last + 1:]))


def _find_labels_folder(parent):
  names = [path.name for path in parent.iterdir() if path.name.lower() == "labels"]
  return parent / ("labels" if "labels" in names or not names else min(names))


def _list_labels(folder):
  """Returns {name without suffix: paths} of the text files in a folder."""
  found = {}
  for path in sorted(filter(_is_text, folder.glob("*"))):
    found.setdefault(path.stem, []).append(path)
  return found


def _is_text(path):
  return path.suffix.lower() == ".txt" and not path.name.startswith(".") and path.is_file()


def _holds_labels(path):
  """Returns whether a file is empty, or its first line could be one of labels."""
  try:
    words = path.read_text(encoding="utf-8-sig").partition("\n")[0].split()
    return not words or len(words) >= _FEWEST_WORDS and bool([float(word) for word in words])
  except (OSError, ValueError):
    return False


def read_labels(path: pathlib.Path, names: Collection[int], size: tuple[int, int],
                report: FaultReport) -> list[tuple[int, list[float]]]:
  """Returns (class, polygon in pixels) of each line that has them; others go to `report`.

  Args:
    path: of a file of labels.
    names: the known classes.
    size: (width, height) of the image.
    report: takes the faults.
  """
  try:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
  except (OSError, UnicodeDecodeError) as error:
    report(Fault("annotation", f"cannot read {path}: {error}"))
    return []
  found = []
  for number, line in enumerate(lines, 1):
    try:
      if line.strip():
        found.append(_read_line(line.split(), names, size))
    except ValueError as error:
      report(Fault("annotation", f"{path}, line {number}: {error}"))
  return found


def _read_line(words, names, size):
  try:
    category_id, *shares = map(float, words)
  except ValueError:
    raise ValueError(f"{' '.join(words)!r:.60} are not numbers") from None
  if category_id not in names:
    raise ValueError(f"the class {words[0]} is not in 'names', which has {len(names)}")
  if len(shares) == 4:
    raise ValueError("a class and a box: a polygon is needed, as in YOLO's segmentation format")
  if len(shares) < 6 or len(shares) % 2:
    raise ValueError(f"{len(shares)} numbers after the class: x and y of three points or more are "
                     "needed")
  if not all(math.isfinite(share) and abs(share) <= _FARTHEST for share in shares):
    raise ValueError("coordinates are shares of the image, 0 ... 1, not pixels")
  return int(category_id), [share * size[index % 2] for index, share in enumerate(shares)]
