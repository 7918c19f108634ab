"""YOLO's segmentation format (docs.ultralytics.com/datasets/segment): a data.yaml and text files.

`data.yaml` has the `names` of the classes, and folders, or lists, of the images of `train` and
`val`; keys may have any case. The labels of an image are in a text file (`yolo_labels.py`), one
line per instance: the class and a polygon in shares of the image's width and height. An image
without a file of labels has no instance.
"""

from collections.abc import Callable
import pathlib
from typing import Any

import yaml

from mnc_jax.coco.faults import Fault, FaultReport, count_noun, list_first
from mnc_jax.data import listing
from mnc_jax.data.readers.formats.yolo_images import find_split_images
from mnc_jax.data.readers.formats.yolo_labels import (
  match_labels,
  name_folders,
  read_labels,
  report_strays,
)

_SPLITS = {listing.TRAIN: ("train",),
           listing.VALIDATION: ("val", "valid", "validation", "test")}
_NAMES = ("data.yaml", "data.yml")
_KEYS = ("names", "path", "kpt_shape", *_SPLITS[listing.TRAIN], *_SPLITS[listing.VALIDATION])


class _Loader(yaml.SafeLoader):
  """Reads dates as text: no field of a set is one, and an impossible one would be an error."""


_Loader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)


def list_yamls(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the files of a folder that are a data.yaml, whatever they are called."""
  return [path for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
          if _read_yaml(path) is not None]


def choose_yaml(paths: list[pathlib.Path]) -> pathlib.Path:
  """Returns the data.yaml of a set: the only one of `paths`, or the one that is called so.

  Raises:
    ValueError: if it is not clear which one is meant.
  """
  named = [path for path in paths if path.name.lower() in _NAMES] or paths
  if len(named) > 1:
    raise ValueError(
        f"{paths[0].parent} has several files with 'names' and 'train': "
        f"{list_first(path.name for path in named)}: remove all but one, or call it data.yaml")
  return named[0]


def _read_yaml(path):
  """Returns the content, with lower-case keys, if it has classes and images."""
  try:
    # A subclass of the safe loader.
    content = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
  except (OSError, ValueError, yaml.YAMLError):
    return None
  if not isinstance(content, dict):
    return None
  content = {str(key).lower(): value for key, value in content.items()}
  return content if "names" in content and "train" in content else None


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
    ValueError: if a key or a class is there twice; if the set has keypoints; if classes are
      missing, or all images or files of labels of a split.
  """
  content = _read_yaml(path) or {}
  _check_keys(path)
  if "kpt_shape" in content:
    raise ValueError(f"{path}: 'kpt_shape' is that of keypoints (a pose set): its labels have a "
                     "box and points on the object, not its outline. Masks need YOLO's "
                     "segmentation format, without 'kpt_shape'")
  names = _read_names(path, content["names"])
  given = {split: [key for key in keys if content.get(key)] for split, keys in _SPLITS.items()}
  if not any(given.values()):
    raise ValueError(f"{path}: 'train' and 'val' are empty: they name folders, or lists, of images")
  found = {split: find_split_images(folder, path, content, keys[0], report)
           for split, keys in given.items() if keys}
  for key in given[listing.VALIDATION][1:]:
    report(Fault("set", f"{path}: the images of {key!r} are left out: a set has images to train on "
                        "and for validation"))
  together = list(dict.fromkeys(image for images in found.values() for image in images))
  matched = match_labels(folder, together, report)
  labels = {split: _select(folder, path, given[split][0], images, matched)
            for split, images in found.items()}
  report_strays(folder, together, report)
  splits = {split: _convert(folder, files, names, measure, report)
            for split, files in labels.items()}
  return splits if len(splits) > 1 else {listing.VALIDATION: next(iter(splits.values()))}


def _check_keys(path):
  """Rejects keys that are there twice, also in another case: YAML's readers keep the last alone."""
  root = yaml.compose(path.read_text(encoding="utf-8-sig"), _Loader)
  for key, (first, *others) in _group_keys(root, str.lower).items():
    if others and key in _KEYS:
      raise ValueError(f"{path}: {first.value!r} (line {_line(first)}) and {others[0].value!r} "
                       f"(line {_line(others[0])}) are the same key: keep one of them, with the "
                       "folders of both as a list [A, B] if both are meant")
    if key == "names":
      names = next(value for node, value in root.value if node is first)
      for number, (one, *more) in _group_keys(names, str).items():
        if more:
          raise ValueError(f"{path}: 'names' has the class {number} twice (lines {_line(one)} and "
                           f"{_line(more[0])})")


def _group_keys(node, fold):
  """Returns {folded key: its nodes} of a mapping; {} of anything else."""
  found = {}
  for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
    if isinstance(key, yaml.ScalarNode):
      found.setdefault(fold(key.value), []).append(key)
  return found


def _line(node):
  return node.start_mark.line + 1


def _read_names(path, names):
  """Returns {class: name}."""
  items = (names.items() if isinstance(names, dict) else
           enumerate(names) if isinstance(names, list) else ())
  found = {key: str(name) for key, name in items}
  if not found or not all(isinstance(key, int) and key >= 0 for key in found):
    raise ValueError(f"{path}: 'names' is neither a list of names nor {{0: name, ...}}")
  return found


def _select(folder, path, key, images, matched):
  """Returns {image: file of labels or None} of a split, which needs one at least."""
  found = {image: matched[image] for image in images if image in matched}
  if found and not any(found.values()):
    raise ValueError(
        f"{path}: {key!r} has {count_noun(len(images), 'image')}, but no file of labels: "
        f"{pathlib.Path(images[0].name).with_suffix('.txt')} and the like are looked for in "
        f"{list_first(name_folders(folder, images))}. Images without objects need none, but a "
        "split has some: move the label files there (images/ and labels/ beside each other)")
  return found


def _convert(folder, files, names, measure, report):
  """Returns the content of a COCO file of {image: file of labels or None}."""
  rows, annotations = [], []
  for path, labels in files.items():
    try:
      height, width = measure(path)
    except ValueError as error:
      report(Fault("image", str(error)))
      continue
    rows.append({"id": len(rows) + 1, "height": height, "width": width,
                 "file_name": path.resolve().relative_to(folder.resolve()).as_posix()})
    lines = read_labels(labels, names, (width, height), report) if labels else []
    for category_id, polygon in lines:
      annotations.append({"id": len(annotations) + 1, "image_id": rows[-1]["id"],
                          "category_id": category_id, "segmentation": [polygon], "iscrowd": 0})
  return {"images": rows, "annotations": annotations,
          "categories": [{"id": key, "name": name} for key, name in names.items()]}
