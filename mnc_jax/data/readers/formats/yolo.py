"""YOLO's segmentation format (docs.ultralytics.com/datasets/segment): a data.yaml and text files.

`data.yaml` has the `names` of the classes, and folders, or lists, of the images of `train` and
`val`. The labels of `.../images/.../NAME.jpg` are in `.../labels/.../NAME.txt`, one line per
instance: the class and a polygon in shares of the image's width and height. An image without a file
of labels has no instance.
"""

from collections.abc import Callable
import math
import os
import pathlib
from typing import Any

import yaml

from mnc_jax.coco.faults import Fault, FaultReport, describe
from mnc_jax.data import listing
from mnc_jax.data.image_batch import find_images

_SPLITS = {listing.TRAIN: ("train",), listing.VALIDATION: ("val", "valid", "test")}
_FARTHEST = 1.5  # Of the image's side; what is farther out is in pixels.


class _Loader(yaml.SafeLoader):
  """Reads dates as text: no field of a set is one, and an impossible one would be an error."""


_Loader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)


def find_yaml(folder: pathlib.Path) -> pathlib.Path | None:
  """Returns the data.yaml of a folder, whatever it is called, or None."""
  return next((path for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
               if _read_yaml(path) is not None), None)


def _read_yaml(path):
  """Returns the content if it has classes and images."""
  try:
    # A subclass of the safe loader.
    content = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
  except (OSError, ValueError, yaml.YAMLError):
    return None
  known = isinstance(content, dict) and "names" in content and "train" in content
  return content if known else None


def read_yolo(folder: pathlib.Path, path: pathlib.Path,
              measure: Callable[[pathlib.Path], tuple[int, int]], report: FaultReport
              ) -> dict[str, dict[str, Any]]:
  """Returns the content of a COCO file for each split; a single one under VALIDATION.

  File names are relative to `folder`. Bad lines and images that cannot be read go to `report`.

  Args:
    folder: of the data set.
    path: of its data.yaml.
    measure: path of an image -> (height, width); raises ValueError.
    report: takes the faults.

  Raises:
    ValueError: if classes are missing, or all images of a split.
  """
  content = _read_yaml(path) or {}
  names = _read_names(path, content["names"])
  given = {split: [key for key in keys if content.get(key)] for split, keys in _SPLITS.items()}
  if not any(given.values()):
    raise ValueError(f"{path}: 'train' and 'val' are empty: they name folders, or lists, of images")
  found = {split: _find_images(folder, path, content, keys[0], report)
           for split, keys in given.items() if keys}
  if "test" in given[listing.VALIDATION][1:]:
    report(Fault("set", f"{path}: the images of 'test' are left out: a set has images to train on "
                        "and for validation"))
  splits = {split: _convert(folder, images, names, measure, report)
            for split, images in found.items()}
  return splits if len(splits) > 1 else {listing.VALIDATION: next(iter(splits.values()))}


def _read_names(path, names):
  """Returns {class: name}."""
  items = (names.items() if isinstance(names, dict) else
           enumerate(names) if isinstance(names, list) else ())
  found = {key: str(name) for key, name in items}
  if not found or not all(isinstance(key, int) and key >= 0 for key in found):
    raise ValueError(f"{path}: 'names' is neither a list of names nor {{0: name, ...}}")
  return found


def _find_images(folder, path, content, key, report):
  """Returns the images of a split, below `folder`; others go to `report`."""
  given = content[key] if isinstance(content[key], list) else [content[key]]
  bases, images, faults = (folder / str(content.get("path", "")), folder), [], []
  for part in given:
    found = (_locate(folder, bases, part, folder / key / "images", folder / "images" / key)
             or folder / str(part))
    if os.path.exists(found) and (_is_below(found, folder) or found.samefile(folder)):
      images += _list_images(folder, bases, found, faults.append)
    else:
      faults.append(Fault("image", f"{path}: {key!r} names {part}, which is not in {folder}"))
  if not images:
    reasons = describe([fault.message for fault in faults])
    raise ValueError(f"{path}: no image of {key!r}, {', '.join(map(str, given))}, is in {folder}"
                     f"{':' if faults else ''}\n{reasons}".rstrip())
  for fault in faults:
    report(fault)
  return images


def _locate(folder, bases, name, *others):
  """Returns where a path of an export is: it may be one of the machine that wrote it. Or None."""
  name = pathlib.PurePosixPath(str(name).replace("\\", "/"))
  steps = [step for step in name.parts if step not in ("..", "/")]
  candidates = (*(base / name for base in bases),
                *(folder.joinpath(*steps[start:]) for start in range(len(steps))), *others)
  return next((path for path in candidates if os.path.exists(path) and _is_below(path, folder)),
              None)


def _locate_file(folder, bases, name):
  """Returns where an image of a list is, or None: a file of that name in a folder of that name."""
  found = _locate(folder, bases, name)
  given = pathlib.PurePosixPath(os.path.normpath(name.replace("\\", "/")))
  ends = tuple(step for step in given.parts if step not in ("..", "/"))[-2:]
  if not found or not found.is_file():
    return None
  # Labels are looked for beside it.
  found = pathlib.Path(os.path.normpath(found))
  return found if found.parts[-len(ends):] == ends else None


def _is_below(path, folder):
  path, folder = path.resolve(), folder.resolve()
  return path != folder and path.is_relative_to(folder)


def _list_images(folder, bases, path, report):
  """Returns the images of a folder, or of a list, each once."""
  if not path.is_file():
    found = [(str(image), image if _is_below(image, folder) else None)
             for image in find_images(path, pattern="**/*")]
  else:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    found = [(f"{path}, line {number}: {line.strip()}",
              _locate_file(folder, (path.parent, *bases), line.strip()))
             for number, line in enumerate(lines, 1) if line.strip()]
  for name, image in found:
    if image is None:
      report(Fault("image", f"{name}: no such image in {folder}"))
  return list(dict.fromkeys(image for _, image in found if image is not None))


def _convert(folder, images, names, measure, report):
  rows, annotations = [], []
  for path in images:
    try:
      height, width = measure(path)
    except ValueError as error:
      report(Fault("image", str(error)))
      continue
    rows.append({"id": len(rows) + 1, "height": height, "width": width,
                 "file_name": path.resolve().relative_to(folder.resolve()).as_posix()})
    for category_id, polygon in _read_labels(_labels_of(path), names, (width, height), report):
      annotations.append({"id": len(annotations) + 1, "image_id": rows[-1]["id"],
                          "category_id": category_id, "segmentation": [polygon], "iscrowd": 0})
  return {"images": rows, "annotations": annotations,
          "categories": [{"id": key, "name": name} for key, name in names.items()]}


def _labels_of(image):
  """Returns the file of labels of an image: in `labels` for the last `images` of its path."""
  parts = list(image.parts)
  if "images" in parts[:-1]:
    parts[len(parts) - 2 - parts[-2::-1].index("images")] = "labels"
  return pathlib.Path(*parts).with_suffix(".txt")


def _read_labels(path, names, size, report):
  """Returns (class, polygon in pixels) of each line that has them."""
  try:
    lines = path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else []
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
