"""Where the annotations of a folder are: COCO's own layout, and those of labelling tools.

```
[annotations/]instances_train*.json, instances_val*.json     COCO; CVAT (Train, Validation)
[annotations/]train*.json, val*.json                         scripts
train/_annotations.coco.json, valid/..., test/...            Roboflow; any .json in such folders
train/annotations/instances.json, train/images/, val/...     Supervisely
instances_*.json, labels.json, result.json, any other        CVAT, FiftyOne, Label Studio, VIA
NAME.json of each image, there or in train/ and val/         labelme
data.yaml, images/, labels/                                  YOLO's segmentation format
```
A split is called train, val, valid, validation or test, in any case; `test` is for validation if
there is no other. All may be in a folder within the folder, if it has no other with annotations.
"""

import functools
import pathlib
import re
from typing import Any, NamedTuple

from mnc_jax.coco.content import read_json
from mnc_jax.coco.faults import Fault, FaultReport, list_first
from mnc_jax.data import listing
from mnc_jax.data.images import DEFAULT_OPTIONS, ImageOptions, read_image
from mnc_jax.data.readers.coco_images import make_finder
from mnc_jax.data.readers.formats.converted import Converted, number_categories
from mnc_jax.data.readers.formats.labelme import convert_labelme, is_labelme
from mnc_jax.data.readers.formats.via import convert_via, read_via_images
from mnc_jax.data.readers.formats.yolo import choose_yaml, list_yamls, read_yolo
from mnc_jax.data.readers.formats.yolo_labels import reject_unlisted

_SPLITS = {"train": listing.TRAIN, "training": listing.TRAIN, "val": listing.VALIDATION,
           "valid": listing.VALIDATION, "validation": listing.VALIDATION, "test": "test"}
_SPLIT = re.compile("^(train|val|test)", re.IGNORECASE)  # Of `train2017`, too.


class Annotations(NamedTuple):
  """The annotations of a split.

  Attributes:
    path: what messages call them: a file, or the folder of many.
    content: of a COCO file, not yet checked.
    folders: where the images may be, the likeliest first.
  """
  path: pathlib.Path
  content: Any
  folders: list[pathlib.Path]


class _Files(NamedTuple):
  """JSON files of a split, and the folder that they belong to."""
  folder: pathlib.Path
  paths: list[pathlib.Path]


def find_annotations(folder: pathlib.Path, report: FaultReport, *,
                     options: ImageOptions = DEFAULT_OPTIONS) -> dict[str, Annotations]:
  """Returns the annotations by split; those of a single split under VALIDATION.

  Formats that do not name the size of an image take it from the image, as `options` read it.

  Raises:
    ValueError: if no layout fits, or it is not clear which file is meant.
  """
  found = _find(folder, report, options)
  return {split: part._replace(folders=list(dict.fromkeys(
      [*part.folders, folder / "images", folder]))) for split, part in found.items()}


def _find(folder, report, options) -> dict[str, Annotations]:
  yamls = list_yamls(folder)
  if yamls and not _has_annotations(folder):
    path = choose_yaml(yamls)
    found = read_yolo(folder, path, functools.partial(_measure, options), report)
    return {split: Annotations(path, content, [folder]) for split, content in found.items()}
  files = _find_pair(folder) or _find_split_folders(folder)
  if files:
    return _read_splits(_choose_splits(folder, files, report), report, options)
  jsons = _list_jsons(folder)
  inner = [] if jsons else _list_inner(folder, 2)
  if len(inner) == 1:
    return _find(inner[0], report, options)
  if not _has_annotations(folder):
    reject_unlisted(folder)
  return _read_splits({listing.VALIDATION: _find_single(folder, jsons, inner)}, report,
                      options)


def _list_jsons(folder):
  return [path for part in (folder / "annotations", folder) for path in sorted(part.glob("*.json"))
          if not path.name.startswith(".")]


def _has_annotations(folder):
  """Returns whether any JSON file of a folder is one of annotations, in a format that is read."""
  return any(map(_is_annotations, _list_jsons(folder)))


def _is_annotations(path):
  try:
    content = read_json(path)
  except ValueError:
    return False
  return is_labelme(content) or read_via_images(content) is not None or (
      isinstance(content, dict) and "images" in content)


def _list_inner(folder, depth):
  """Returns the folders in a folder, to a depth, that have annotations."""
  parts = [part for part in sorted(folder.iterdir()) if part.is_dir()] if depth else []
  return [found for part in parts for found in (
      [part] if _list_jsons(part) or list_yamls(part) or _find_split_folders(part)
      else _list_inner(part, depth - 1))]


def _find_pair(folder):
  """Returns {split: files} if one file is to train on and one for validation, else {}."""
  for prefix in ("instances_", ""):
    found = {}
    for path in _list_jsons(folder):
      match = path.name.startswith(prefix) and _SPLIT.match(path.stem.removeprefix(prefix))
      if match:
        found.setdefault(_SPLITS[match[0].lower()], []).append(path)
    held_out = found.get(listing.VALIDATION) or found.get("test", ())
    if len(found.get(listing.TRAIN, ())) == len(held_out) == 1 and not _are_labelme(held_out):
      return {split: _Files(folder, paths) for split, paths in found.items()}
  return {}


def _find_split_folders(folder):
  """Returns {split: files} of the folders that are called as splits are, if one is to train on."""
  found = {}
  for part in sorted(path for path in folder.iterdir() if path.is_dir()):
    split, paths = _SPLITS.get(part.name.lower()), _list_jsons(part)
    if split and paths and split in found and not _has_annotations(folder):
      raise ValueError(f"{folder} has two folders for {split}: {found[split].folder.name} and "
                       f"{part.name}")
    if split and paths:
      found[split] = _Files(part, _prefer_instances(paths))
  # Other JSON files, such as a description of the set, do not count.
  return found if listing.TRAIN in found and not _has_annotations(folder) else {}


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


def _find_single(folder, jsons, inner):
  single = _prefer_instances(jsons)
  if len(single) == 1 or len(single) > 1 and _are_labelme(single):
    return _Files(folder, single)
  found = sorted(path.relative_to(folder).as_posix() for path in jsons or inner)
  raise ValueError(
      f"{folder} needs one instances_train*.json and one instances_val*.json, or one "
      "instances_*.json in all, or one JSON file in all, there or in annotations/; or train/ and "
      "val/ with one each; or a data.yaml of YOLO, or the files of labelme; "
      f"found: {', '.join(found) or 'none'}")


def _are_labelme(paths):
  return all(is_labelme(_read_annotations(path)) for path in paths)


def _read_annotations(path):
  """Returns the content of a JSON file without `imageData`, labelme's copy of the whole image."""
  content = read_json(path)
  if isinstance(content, dict):
    content.pop("imageData", None)
  return content


def _read_splits(files, report, options):
  """Returns the content of the files, in COCO's format."""
  parsed = {split: [(path, _read_annotations(path)) for path in part.paths]
            for split, part in files.items()}
  converted = {split: _convert(files[split], contents, report, options)
               for split, contents in parsed.items()}
  others = {split: found for split, found in converted.items() if found is not None}
  if others and len(others) < len(converted):
    raise ValueError(f"{files[next(iter(others))].folder}: its annotations are in another format "
                     "than those of the other split")
  contents = number_categories(others) if others else {
      split: _take_single(files[split], contents) for split, contents in parsed.items()}
  return {split: Annotations(
      part.paths[0] if len(part.paths) == 1 else part.folder, contents[split], _list_folders(part))
      for split, part in files.items()}


def _convert(files, contents, report, options) -> Converted | None:
  """Returns what is in the format of labelme or VIA, else None."""
  if all(is_labelme(content) for _, content in contents):
    return convert_labelme(contents, report)
  path, content = contents[0]
  images = read_via_images(content) if len(contents) == 1 else None
  if images is None:
    return None
  finders = [(part, make_finder(part)) for part in _list_folders(files)]
  return convert_via(path, images, functools.partial(_measure_found, finders, options),
                     report)


def _take_single(files, contents):
  if len(contents) > 1:
    raise ValueError(f"{files.folder} has several JSON files, of which one is needed: "
                     f"{list_first(path.name for path, _ in contents)}")
  return contents[0][1]


def _measure(options, path):
  height, width = read_image(path, options=options).shape[:2]
  return height, width


def _measure_found(finders, options, name) -> tuple[int, int]:
  """Returns (height, width) of the image of a name, in the first folder that has it."""
  found = ((part, find(name)) for part, find in finders)
  path = next((part / there for part, there in found if there), None)
  if path is None:
    raise ValueError(f"there is no image {name!r} in {list_first(part for part, _ in finders)}")
  return _measure(options, path)


def _list_folders(files) -> list[pathlib.Path]:
  """Returns the folders where the images of files may be, the likeliest first."""
  name, folder = files.paths[0].stem.removeprefix("instances_"), files.folder
  match = _SPLIT.match(name)
  # `instances_train2017.json` and `train/` is as common as `train2017/`.
  split = _SPLITS[match[0].lower()] if match else None
  names = dict.fromkeys([name, *(other for other, kind in _SPLITS.items() if kind == split)])
  return [*(part / name for name in names for part in (folder, folder / "images")),
          folder / "images", folder / "data", folder]
