"""Which JSON files of a folder are the annotations of which split, and where their images are."""

from collections.abc import Iterable
import pathlib
import re
from typing import Any, NamedTuple

from mnc_jax.coco.content import read_json
from mnc_jax.coco.faults import Fault, FaultReport, list_first
from mnc_jax.data import listing
from mnc_jax.data.readers.formats.labelme import is_labelme
from mnc_jax.data.readers.formats.via import read_via_images
from mnc_jax.data.readers.formats.yolo import list_yamls

_SPLITS = {"train": listing.TRAIN, "training": listing.TRAIN, "val": listing.VALIDATION,
           "valid": listing.VALIDATION, "validation": listing.VALIDATION, "test": "test"}
_SPLIT = re.compile("^(train|val|test)", re.IGNORECASE)  # Of `train2017`, too.


class SplitFiles(NamedTuple):
  """JSON files of a split, and the folder that they belong to."""
  folder: pathlib.Path
  paths: list[pathlib.Path]


def list_jsons(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the JSON files of a folder: those in its `annotations`, then its own."""
  return [path for part in (folder / "annotations", folder) for path in sorted(part.glob("*.json"))
          if not path.name.startswith(".")]


def has_annotations(folder: pathlib.Path) -> bool:
  """Returns whether any JSON file of a folder is one of annotations, in a format that is read."""
  return any(map(_is_annotations, list_jsons(folder)))


def _is_annotations(path):
  try:
    content = read_json(path)
  except ValueError:
    return False
  return is_labelme(content) or read_via_images(content) is not None or (
      isinstance(content, dict) and "images" in content)


def list_inner(folder: pathlib.Path, depth: int) -> list[pathlib.Path]:
  """Returns the folders in a folder, to a depth, that have annotations."""
  parts = [part for part in sorted(folder.iterdir()) if part.is_dir()] if depth else []
  return [found for part in parts for found in (
      [part] if list_jsons(part) or list_yamls(part) or _find_split_folders(part)
      else list_inner(part, depth - 1))]


def find_splits(folder: pathlib.Path, report: FaultReport) -> dict[str, SplitFiles]:
  """Returns the files of the splits of a folder, by the names of the files or of their folders.

  They are those to train on and those for validation, or of one split alone, under VALIDATION; {}
  if no name says which is to train on. What is left out goes to `report`.
  """
  files = _find_pair(folder) or _find_split_folders(folder)
  return _choose_splits(folder, files, report) if files else {}


def _find_pair(folder):
  """Returns {split: files} if one file is to train on and one for validation, else {}."""
  for prefix in ("instances_", ""):
    found = {}
    for path in list_jsons(folder):
      match = path.name.startswith(prefix) and _SPLIT.match(path.stem.removeprefix(prefix))
      if match:
        found.setdefault(_SPLITS[match[0].lower()], []).append(path)
    held_out = found.get(listing.VALIDATION) or found.get("test", ())
    if len(found.get(listing.TRAIN, ())) == len(held_out) == 1 and not _are_labelme(held_out):
      return {split: SplitFiles(folder, paths) for split, paths in found.items()}
  return {}


def _find_split_folders(folder):
  """Returns {split: files} of the folders that are called as splits are, if one is to train on."""
  found = {}
  for part in sorted(path for path in folder.iterdir() if path.is_dir()):
    split, paths = _SPLITS.get(part.name.lower()), list_jsons(part)
    if split and paths and split in found and not has_annotations(folder):
      raise ValueError(f"{folder} has two folders for {split}: {found[split].folder.name} and "
                       f"{part.name}")
    if split and paths:
      found[split] = SplitFiles(part, _prefer_instances(paths))
  # Other JSON files, such as a description of the set, do not count.
  return found if listing.TRAIN in found and not has_annotations(folder) else {}


def _prefer_instances(paths):
  return [path for path in paths if path.name.startswith("instances_")] or paths


def _choose_splits(folder, files, report):
  """Returns the files of a split to train on and of one for validation, or of one alone."""
  test = files.pop("test", None)
  if test and listing.VALIDATION in files:
    names = list_first(path.relative_to(folder).as_posix() for path in test.paths)
    report(Fault("set", f"{folder}: {names} is left out: a set has images to train on and for "
                        "validation"))
  elif test:
    files[listing.VALIDATION] = test
  return files if len(files) > 1 else {listing.VALIDATION: files[listing.TRAIN]}


def find_single(folder: pathlib.Path, jsons: list[pathlib.Path], inner: Iterable[pathlib.Path]
                ) -> SplitFiles:
  """Returns the files of a folder that has one split.

  Args:
    folder: of the set.
    jsons: of `list_jsons`.
    inner: folders in it that have annotations, for the message if it has none itself.

  Raises:
    ValueError: if it is not clear which file is meant, with the layouts that are read.
  """
  single = _prefer_instances(jsons)
  if len(single) == 1 or len(single) > 1 and _are_labelme(single):
    return SplitFiles(folder, single)
  found = sorted(path.relative_to(folder).as_posix() for path in jsons or inner)
  raise ValueError(
      f"{folder} needs one instances_train*.json and one instances_val*.json, or one "
      "instances_*.json in all, or one JSON file in all, there or in annotations/; or train/ and "
      "val/ with one each; or a data.yaml of YOLO, or the files of labelme; "
      f"found: {', '.join(found) or 'none'}")


def _are_labelme(paths):
  return all(is_labelme(read_annotations(path)) for path in paths)


def read_annotations(path: pathlib.Path) -> Any:
  """Returns the content of a JSON file without `imageData`, labelme's copy of the whole image."""
  content = read_json(path)
  if isinstance(content, dict):
    content.pop("imageData", None)
  return content


def list_image_folders(files: SplitFiles) -> list[pathlib.Path]:
  """Returns the folders where the images of files may be, the likeliest first."""
  name, folder = files.paths[0].stem.removeprefix("instances_"), files.folder
  match = _SPLIT.match(name)
  # `instances_train2017.json` and `train/` is as common as `train2017/`.
  split = _SPLITS[match[0].lower()] if match else None
  names = dict.fromkeys([name, *(other for other, kind in _SPLITS.items() if kind == split)])
  return [*(part / name for name in names for part in (folder, folder / "images")),
          folder / "images", folder / "data", folder]
