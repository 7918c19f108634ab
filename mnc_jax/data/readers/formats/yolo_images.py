"""Which images a data.yaml of YOLO names: folders and lists, often of another machine."""

import os
import pathlib
from typing import Any

from mnc_jax.coco.faults import Fault, FaultReport, describe
from mnc_jax.data.image_files import find_images


def find_split_images(folder: pathlib.Path, path: pathlib.Path, content: dict[str, Any], key: str,
                      report: FaultReport) -> list[pathlib.Path]:
  """Returns the images of a split, below `folder`; others go to `report`.

  Args:
    folder: of the data set.
    path: of its data.yaml, for messages.
    content: of it.
    key: of the split in it.
    report: takes the faults.

  Raises:
    ValueError: if there is no image.
  """
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
