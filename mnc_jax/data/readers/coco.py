"""Data sets in COCO format: read as they are, or listed for preparation.

Reading needs an annotation file and a folder of images. Preparation needs a folder with
```
[annotations/]instances_train*.json   [annotations/]instances_val*.json   images
[annotations/]instances_*.json        (one of them, whatever else)        images
[annotations/]*.json                  (one file, whatever its name)       images
```
where a single file is split by image, a fifth for validation, chosen by the hash of the file
name (`listing.split_names`). The images of `instances_X.json` are in `X/`, `images/X/`,
`train/` or `images/train/` if X begins with train (and so for val), `images/` or the folder itself:
the first of these in which any of the first images is found. Category ids become labels 1, 2,
... in order of id.
"""

import functools
import os
import pathlib
import warnings

import numpy as np

from mnc_jax.coco.categories import check_same_categories, with_ids
from mnc_jax.coco.faults import Fault, FaultReport, list_first, raise_fault
from mnc_jax.data import listing
from mnc_jax.data.images import read_image
from mnc_jax.data.readers.coco_file import CocoFile, read_coco_file
from mnc_jax.data.records import BrokenImageError, Source

_SPLITS = ("train", "val")  # As files and folders are called.
_FIRST = 100  # Images of a file of which at least one must exist.


def load_coco(annotations_path: str | pathlib.Path, images_dir: str | pathlib.Path) -> Source:
  """Returns the source of an annotation file and its folder of images.

  Polygons are drawn as COCO's tools draw them, and clipped to the image. Annotations with an empty
  box or mask are dropped, with one warning that counts them. Images without annotations are kept.

  Args:
    annotations_path: the JSON file.
    images_dir: the folder that its file names are relative to.

  Raises:
    ValueError: if the file is missing or not in COCO format, naming file, id and field.
      `BrokenImageError` later, when an image is read that cannot be.
  """
  coco = read_coco_file(pathlib.Path(annotations_path), raise_fault)
  files = [pathlib.Path(images_dir, image["file_name"]) for image in coco.images]
  # One missing image is an error when it is read; a wrong folder is one at once.
  if files and not _holds_images(images_dir, coco):
    raise ValueError(
        f"{coco.path}: none of its first images, such as {files[0].name}, is in {images_dir}")
  if coco.empty_ids:
    warnings.warn(f"{coco.path}: dropped {len(coco.empty_ids)} annotations with an empty box or "
                  f"mask: ids {list_first(coco.empty_ids)}", stacklevel=2)
  folder = pathlib.Path(images_dir)
  return Source(
      name=str(coco.path),
      image_ids=np.array([image["id"] for image in coco.images], np.int64),
      sizes=np.array([_size(image) for image in coco.images], np.int32).reshape(-1, 2),
      instance_counts=np.array([len(found) for found in coco.annotations], np.int32),
      crowd_counts=np.array([sum(row["iscrowd"] for row in found) for found in coco.annotations],
                            np.int32),
      category_names=tuple(category["name"] for category in coco.categories),
      category_ids=tuple(category["id"] for category in coco.categories),
      file_names=tuple(image["file_name"] for image in coco.images),
      read_image=functools.partial(_read_row_image, folder, files),
      read_annotations=coco.annotations.__getitem__)


def _read_row_image(folder, files, row):
  _check_inside(files[row], folder)
  return read_image(files[row])


def _check_inside(path, folder):
  """Rejects links out of the folder of images, by which a downloaded set could read any file."""
  try:
    target = path.resolve()
  except (OSError, RuntimeError) as error:  # Links in a circle.
    raise BrokenImageError(f"cannot read image {path}: {error}") from error
  if not target.is_relative_to(folder.resolve()):
    raise BrokenImageError(
        f"image {path} is a link that leaves the folder of images, to {target}: put the files "
        "themselves there (cp -rlL SOURCE TARGET copies no bytes), or link the whole folder")


def _size(image):
  return image["height"], image["width"]


def _holds_images(folder, coco):
  names = [image["file_name"] for image in coco.images[:_FIRST]]
  # os.path returns False for impossible names, where pathlib raises.
  return any(os.path.isfile(pathlib.Path(folder, name)) for name in names)


def list_coco(folder: pathlib.Path, report: FaultReport) -> listing.Listing:
  """Returns the images of a folder in the layout above; faults of its entries go to `report`.

  Raises:
    ValueError: if it has another layout, if a file is not in COCO format, or if the files have
      different categories.
  """
  paths = _find_files(folder)
  files = {split: read_coco_file(path, report) for split, path in paths.items()}
  for coco in files.values():
    for annotation_id in coco.empty_ids:
      report(Fault("annotation",
                   f"{coco.path}: annotation {annotation_id} has an empty box or mask"))
  first = next(iter(files.values()))
  for coco in files.values():
    check_same_categories(_category_names(first), _category_names(coco), first=str(first.path),
                          second=str(coco.path))
  splits = {split: _make_entries(folder, coco) for split, coco in files.items()}
  return listing.Listing([{"id": row["id"], "name": row["name"]} for row in first.categories],
                 splits if len(splits) > 1 else _split_entries(*splits.values()))


def _find_files(folder):
  """Returns {split: file}; a single file under VALIDATION."""
  found = [path for part in (folder / "annotations", folder) for path in part.glob("*.json")]
  instances = [path for path in found if path.name.startswith("instances_")]
  train, val = ([path for path in instances if path.name.startswith(f"instances_{split}")]
                for split in _SPLITS)
  if len(train) == len(val) == 1:
    return {listing.TRAIN: train[0], listing.VALIDATION: val[0]}
  single = instances or found
  if len(single) == 1:
    return {listing.VALIDATION: single[0]}
  names = ", ".join(sorted(str(path.relative_to(folder)) for path in found)) or "none"
  raise ValueError(f"{folder} needs one instances_train*.json and one instances_val*.json, or one "
                   f"instances_*.json in all, or one JSON file in all, there or in annotations/; "
                   f"found: {names}")


def _category_names(coco):
  return with_ids(*zip(*((row["name"], row["id"]) for row in coco.categories), strict=True))


def _make_entries(folder, coco: CocoFile):
  images_dir, entries = _find_images(folder, coco), []
  for image, found in zip(coco.images, coco.annotations, strict=True):
    path = images_dir / image["file_name"]
    read = functools.partial(_read, images_dir, path, coco.path, image, found)
    entries.append(listing.Entry(image["id"], path.relative_to(folder).as_posix(), read))
  return entries


def _find_images(folder, coco):
  name = coco.path.stem.removeprefix("instances_")
  # `instances_train2017.json` and `train/` is as common as `train2017/`.
  names = dict.fromkeys([name, *(split for split in _SPLITS if name.startswith(split))])
  candidates = [*(part / name for name in names for part in (folder, folder / "images")),
                folder / "images", folder]
  for candidate in candidates:
    if _holds_images(candidate, coco):
      return candidate
  raise ValueError(f"{coco.path}: none of its first images is in "
                   f"{', '.join(map(str, candidates))}")


def _read(images_dir, path, annotations_path, image, annotations, report):
  del report  # The annotations were checked when their file was read.
  try:
    _check_inside(path, images_dir)
    listing.check_image(path, _size(image), annotations_path)
  except ValueError as error:
    raise ValueError(f"{error} (image id {image['id']})") from error
  return listing.Content(path, _size(image), annotations)


def _split_entries(entries):
  names = listing.split_names([entry.file_name for entry in entries])
  chosen = {split: set(names[split]) for split in names}
  return {split: [entry for entry in entries if entry.file_name in chosen[split]]
          for split in chosen}
