"""A folder of images and one of label images, as microscopy uses.

```
images/NAME.png (or any other format)   labels/NAME.png   [train.txt  val.txt]
```
A label image has one channel of 8 or 16 bits; each value is an instance, 0 is background.
There is one category. The lists have one name per line, without the suffix; without lists, a fifth
of the images is for validation, chosen by the hash of the name (`listing.split_names`).
"""

import functools
import itertools
import os
import pathlib

from mnc_jax.coco.faults import Fault, FaultReport
from mnc_jax.data import listing
from mnc_jax.data.image_batch import IMAGE_SUFFIXES
from mnc_jax.data.readers.label_maps import encode_labels, read_label_map
from mnc_jax.data.records import make_annotation

CATEGORY_NAMES = ("object",)
_CATEGORIES = [{"id": 1, "name": CATEGORY_NAMES[0]}]
_LISTS = ("train.txt", "val.txt")


def list_label_images(folder: pathlib.Path, report: FaultReport) -> listing.Listing:
  """Returns the images of the folder; faults go to `report`.

  Reported are images of the same name and names that are not UTF-8; with lists their bad lines
  (`listing.read_lists`), without lists label images without an image. An image that is missing or
  has no label image is an error when its entry is read. With lists, other images are ignored.

  Raises:
    ValueError: if there is no folder `images` or `labels`, only one of the lists, or a list
      that names nothing.
  """
  for name in ("images", "labels"):
    if not (folder / name).is_dir():
      raise ValueError(f"{folder} has no folder {name!r}: images belong in images/, label images "
                       "of the same names in labels/")
  splits = _read_splits(folder, files := _find_images(folder, report), report)
  return listing.Listing(_CATEGORIES, {
      split: _make_entries(folder, files, names) for split, names in splits.items()})


def _find_images(folder, report):
  """Returns {name: path} of the images."""
  files = {}
  for path in sorted((folder / "images").iterdir()):
    if path.suffix.lower() not in IMAGE_SUFFIXES:
      continue
    if os.fsencode(path.name) != path.name.encode(errors="replace"):
      report(Fault("image", f"image {path.name!r} in {path.parent} has a name that is not UTF-8: "
                            "rename it"))
    elif path.stem in files:
      report(Fault("image", f"image {path} has the name of {files[path.stem].name}"))
    else:
      files[path.stem] = path
  return files


def _read_splits(folder, files, report):
  missing = [name for name in _LISTS if not (folder / name).is_file()]
  if not missing:
    return listing.read_lists(folder / _LISTS[0], folder / _LISTS[1], report)
  if len(missing) < len(_LISTS):
    raise ValueError(f"{folder} has no {missing[0]}: both {' and '.join(_LISTS)} are needed, or "
                     "none of them")
  for path in sorted((folder / "labels").glob("*.png")):
    if path.stem not in files:
      report(Fault("image", f"label image {path} has no image in {folder / 'images'}"))
  return listing.split_names(list(files))


def _make_entries(folder, files, names):
  annotation_ids = itertools.count(1)
  entries = []
  for name in names:
    path = files.get(name, folder / "images" / name)
    read = functools.partial(_read, path, folder / "labels" / f"{name}.png", annotation_ids)
    entries.append(
        listing.Entry(listing.stable_id(name), path.relative_to(folder).as_posix(), read))
  return entries


def _read(image_path, labels_path, annotation_ids, report):
  del report  # A label is the pixels that have it: no single one can be bad.
  labels = read_label_map(labels_path)
  listing.check_image(image_path, labels.shape, labels_path)
  image_id = listing.stable_id(labels_path.stem)
  return listing.Content(image_path, labels.shape, [
      make_annotation(next(annotation_ids), image_id, _CATEGORIES[0]["id"], rle, crowd=False)
      for rle in encode_labels(labels).values()])
