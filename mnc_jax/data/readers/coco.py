"""Data sets in COCO format: read as they are, or listed for preparation.

Reading needs an annotation file and a folder of images. Preparation needs a folder in one of the
layouts of `layouts.py`. A single file is split by image, a fifth for validation, chosen by the hash
of the file name (`listing.split_names`). The images of `instances_X.json` are in `X/`, `images/X/`,
`train/` or `images/train/` if X begins with train (and so for val), `images/`, `data/` or the
folder itself: the first of these in which any of the first images is found, or else the first in
which one is found whose name is spelled otherwise (`coco_images.py`). Category ids become labels
1, 2, ... in order of id.
"""

import functools
import pathlib
import warnings

import numpy as np

from mnc_jax.coco.categories import check_same_categories, with_ids
from mnc_jax.coco.faults import (
  Fault,
  FaultReport,
  count_noun,
  describe,
  list_first,
  raise_fault,
)
from mnc_jax.data import listing
from mnc_jax.data.images import DEFAULT_OPTIONS, ImageOptions
from mnc_jax.data.readers.coco_file import CocoFile, check_coco, read_coco_file
from mnc_jax.data.readers.coco_images import find_folder, locate_images
from mnc_jax.data.readers.layouts import find_annotations
from mnc_jax.data.records import BrokenImageError, Source


def load_coco(annotations_path: str | pathlib.Path, images_dir: str | pathlib.Path, *,
              options: ImageOptions = DEFAULT_OPTIONS) -> Source:
  """Returns the source of an annotation file and its folder of images.

  Polygons are drawn as COCO's tools draw them, and clipped to the image. Annotations with an empty
  box or mask are dropped, with one warning that counts them. Images without annotations are kept.

  Args:
    annotations_path: the JSON file.
    images_dir: the folder that its file names are relative to.
    options: which pixels are read.

  Raises:
    ValueError: if the file is missing or not in COCO format, naming file, id and field.
      `BrokenImageError` later, when an image is read that cannot be.
  """
  coco = read_coco_file(pathlib.Path(annotations_path), raise_fault)
  folder = pathlib.Path(images_dir)
  # One missing image is an error when it is read; a wrong folder is one at once.
  if coco.images:
    coco = locate_images(coco, find_folder(coco, [folder]), raise_fault)
  files = [folder / image["file_name"] for image in coco.images]
  if coco.empty_ids:
    warnings.warn(f"{coco.path}: dropped {count_noun(len(coco.empty_ids), 'annotation')} with "
                  f"an empty box or mask: ids {list_first(coco.empty_ids)}", stacklevel=2)
  sizes = np.array([_size(image) for image in coco.images], np.int32).reshape(-1, 2)
  return Source(
      name=str(coco.path),
      image_ids=np.array([image["id"] for image in coco.images], np.int64),
      sizes=sizes,
      instance_counts=np.array([len(found) for found in coco.annotations], np.int32),
      crowd_counts=np.array([sum(row["iscrowd"] for row in found) for found in coco.annotations],
                            np.int32),
      category_names=tuple(category["name"] for category in coco.categories),
      category_ids=tuple(category["id"] for category in coco.categories),
      file_names=tuple(image["file_name"] for image in coco.images),
      read_image=functools.partial(_read_row_image, folder, files, sizes, coco.path, options),
      read_annotations=coco.annotations.__getitem__)


def _read_row_image(folder, files, sizes, annotations_path, options, row):
  _check_inside(files[row], folder)
  size = int(sizes[row, 0]), int(sizes[row, 1])
  return listing.read_annotated(files[row], size, annotations_path, options=options).pixels


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


def list_coco(folder: pathlib.Path, report: FaultReport, *,
              options: ImageOptions = DEFAULT_OPTIONS) -> listing.Listing:
  """Returns the images of a folder in the layout above; faults of its entries go to `report`.

  Raises:
    ValueError: if it has another layout, if a file is not in COCO format, or if the files have
      different categories.
  """
  noted: list[Fault] = []
  try:
    found = find_annotations(folder, noted.append, options=options)
  finally:
    for fault in noted:
      report(fault)
  files = {split: _check_file(part, noted, report) for split, part in found.items()}
  for coco in files.values():
    for annotation_id in coco.empty_ids:
      report(Fault("annotation",
                   f"{coco.path}: annotation {annotation_id} has an empty box or mask"))
  first = next(iter(files.values()))
  for coco in files.values():
    check_same_categories(_category_names(first), _category_names(coco), first=str(first.path),
                          second=str(coco.path))
  splits = {split: _make_entries(folder, coco, found[split].folders, options, report)
            for split, coco in files.items()}
  if len(splits) == 1:
    splits = _split_entries(next(iter(splits.values())), first.path)
  return listing.Listing(
      [{"id": row["id"], "name": row["name"]} for row in first.categories], splits)


def _check_file(part, noted, report):
  """Returns the annotations; if no image of it can be used, raises with the reasons.

  Some of them may be `noted` already, where the file was converted from another format.
  """
  faults: list[Fault] = []
  path = part.path
  coco = check_coco(part.content, path, faults.append)
  if not coco.images:
    messages = [fault.message for fault in [*noted, *faults] if fault.item == "image"]
    raise ValueError(f"{path}: no image of it can be used:\n{describe(messages)}" if messages else
                     f"{path}: 'images' is empty")
  for fault in faults:
    report(fault)
  return coco


def _category_names(coco):
  return with_ids(*zip(*((row["name"], row["id"]) for row in coco.categories), strict=True))


def _make_entries(folder, coco: CocoFile, candidates, options, report):
  images_dir, entries = find_folder(coco, candidates), []
  coco = locate_images(coco, images_dir, report)
  for image, found in zip(coco.images, coco.annotations, strict=True):
    path = images_dir / image["file_name"]
    read = functools.partial(_read, images_dir, path, coco.path, image, found, options)
    entries.append(listing.Entry(image["id"], path.relative_to(folder).as_posix(), read))
  return entries


def _read(images_dir, path, annotations_path, image, annotations, options, report):
  del report  # The annotations were checked when their file was read.
  try:
    _check_inside(path, images_dir)
    notes = listing.check_image(path, _size(image), annotations_path, options=options)
  except ValueError as error:
    raise ValueError(f"{error} (image id {image['id']})") from error
  return listing.Content(path, _size(image), annotations, notes)


def _split_entries(entries, path):
  if len(entries) == 1:
    raise ValueError(f"{path}: there is one image, {entries[0].file_name}: two are needed at "
                     "least, one of them for validation")
  names = listing.split_names([entry.file_name for entry in entries])
  chosen = {split: set(names[split]) for split in names}
  return {split: [entry for entry in entries if entry.file_name in chosen[split]]
          for split in chosen}
