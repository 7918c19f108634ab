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
from typing import Any, NamedTuple

from mnc_jax.coco.faults import FaultReport, list_first
from mnc_jax.data import listing
from mnc_jax.data.images import DEFAULT_OPTIONS, ImageOptions, read_image
from mnc_jax.data.readers.coco_images import make_finder
from mnc_jax.data.readers.formats.converted import Converted, number_categories
from mnc_jax.data.readers.formats.labelme import convert_labelme, is_labelme
from mnc_jax.data.readers.formats.via import convert_via, read_via_images
from mnc_jax.data.readers.formats.yolo import choose_yaml, list_yamls, read_yolo
from mnc_jax.data.readers.formats.yolo_labels import reject_unlisted
from mnc_jax.data.readers.split_files import (
  find_single,
  find_splits,
  has_annotations,
  list_image_folders,
  list_inner,
  list_jsons,
  read_annotations,
)


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
  if yamls and not has_annotations(folder):
    path = choose_yaml(yamls)
    found = read_yolo(folder, path, functools.partial(_measure, options), report)
    return {split: Annotations(path, content, [folder]) for split, content in found.items()}
  files = find_splits(folder, report)
  if files:
    return _read_splits(files, report, options)
  jsons = list_jsons(folder)
  inner = [] if jsons else list_inner(folder, 2)
  if len(inner) == 1:
    return _find(inner[0], report, options)
  if not has_annotations(folder):
    reject_unlisted(folder)
  return _read_splits({listing.VALIDATION: find_single(folder, jsons, inner)}, report, options)


def _read_splits(files, report, options):
  """Returns the content of the files, in COCO's format."""
  parsed = {split: [(path, read_annotations(path)) for path in part.paths]
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
      part.paths[0] if len(part.paths) == 1 else part.folder, contents[split],
      list_image_folders(part)) for split, part in files.items()}


def _convert(files, contents, report, options) -> Converted | None:
  """Returns what is in the format of labelme or VIA, else None."""
  if all(is_labelme(content) for _, content in contents):
    return convert_labelme(contents, report)
  path, content = contents[0]
  images = read_via_images(content) if len(contents) == 1 else None
  if images is None:
    return None
  finders = [(part, make_finder(part)) for part in list_image_folders(files)]
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
