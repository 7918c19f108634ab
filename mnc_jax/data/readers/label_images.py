"""A folder of images and one of label images, as microscopy uses.

```
images/NAME.png (or any other format)   labels/NAME.png   [train.txt  val.txt]
```
A label image has one channel; each value is an instance, 0 is background. It may also be .tif or
.npy, and be called NAME_mask, NAME_masks or NAME_cp_masks; the folder may be `masks`. There is one
category. The lists have one name per line, with or without the suffix of an image; without lists, a
fifth of the images is for validation, chosen by the hash of the name (`listing.split_names`).
"""

import functools
import itertools
import os
import pathlib

from mnc_jax.coco.faults import Fault, FaultReport
from mnc_jax.data import listing
from mnc_jax.data.image_files import describe_deeper, find_images
from mnc_jax.data.images import DEFAULT_OPTIONS, ImageOptions
from mnc_jax.data.readers.label_checks import (
  LabelCounts,
  count_parts,
  describe_labels,
  describe_surrounding,
)
from mnc_jax.data.readers.label_checks import split_components as split_labels
from mnc_jax.data.readers.label_files import choose_label_file, match_label_files
from mnc_jax.data.readers.label_maps import encode_labels, read_label_map
from mnc_jax.data.records import make_annotation

CATEGORY_NAMES = ("object",)
_CATEGORIES = [{"id": 1, "name": CATEGORY_NAMES[0]}]
_LISTS = ("train.txt", "val.txt")
_LABEL_FOLDERS = ("labels", "masks")
_LAYOUT = "images belong in images/, label images of the same names in labels/ (or masks/)"


def list_label_images(folder: pathlib.Path, report: FaultReport, *, split_components: bool = False,
                      options: ImageOptions = DEFAULT_OPTIONS) -> listing.Listing:
  """Returns the images of the folder; faults go to `report`.

  Reported are images of the same name and names that are not UTF-8; with lists their bad lines
  (`listing.read_lists`), without lists label images without an image. An image that is missing or
  has no label image is an error when its entry is read. With lists, other images are ignored. When
  all were read, `describe` of the listing says what they look like if not like instance labels.

  Args:
    folder: in the layout above.
    report: takes the faults.
    split_components: whether each connected part of a value is an instance, for foreground masks.
    options: which pixels are read.

  Raises:
    ValueError: if there is no folder `images` or `labels`, only one of the lists, or a list
      that names nothing.
  """
  if not (folder / "images").is_dir():
    raise ValueError(f"{folder} has no folder 'images': {_LAYOUT}")
  labels = _find_labels(folder)
  files = _find_images(folder, report)
  lists = _read_lists(folder, files, report)
  splits = lists or listing.split_names(list(files))
  found, unmatched = match_label_files(labels, [*files, *itertools.chain(*splits.values())])
  for path in () if lists else unmatched:
    report(Fault("image", f"label image {path} has no image in {folder / 'images'}"))
  deeper = describe_deeper(folder / "images")
  if deeper:
    report(Fault("set", deeper))
  counts: list[LabelCounts] = []
  read = functools.partial(_read, split_components, options, counts)
  return listing.Listing(
      _CATEGORIES, {split: _make_entries(folder, files, labels, found, names, read)
                    for split, names in splits.items()},
      lambda: list(filter(None, [describe_surrounding(counts), describe_labels(counts)])))


def _find_labels(folder):
  """Returns the folder of label images."""
  for name in _LABEL_FOLDERS:
    if (folder / name).is_dir():
      return folder / name
  raise ValueError(f"{folder} has no folder 'labels': {_LAYOUT}")


def _find_images(folder, report):
  """Returns {name: path} of the images."""
  files = {}
  for path in find_images(folder / "images"):
    if os.fsencode(path.name) != path.name.encode(errors="replace"):
      report(Fault("image", f"image {path.name!r} in {path.parent} has a name that is not UTF-8: "
                            "rename it"))
    elif path.stem in files:
      report(Fault("image", f"image {path} has the name of {files[path.stem].name}"))
    else:
      files[path.stem] = path
  return files


def _read_lists(folder, files, report):
  """Returns the names by split; None without lists."""
  missing = [name for name in _LISTS if not (folder / name).is_file()]
  if not missing:
    return listing.read_lists(folder / _LISTS[0], folder / _LISTS[1], report, known=files)
  if len(missing) < len(_LISTS):
    raise ValueError(f"{folder} has no {missing[0]}: both {' and '.join(_LISTS)} are needed, or "
                     "none of them")
  return None


def _make_entries(folder, files, labels, found, names, read):
  annotation_ids, entries = itertools.count(1), []
  for name in names:
    path = files.get(name, folder / "images" / name)
    choose = functools.partial(choose_label_file, name, found.get(name, []), labels)
    entries.append(listing.Entry(
        listing.stable_id(name), path.relative_to(folder).as_posix(),
        functools.partial(read, path, choose, listing.stable_id(name), annotation_ids)))
  return entries


def _read(split, options, counts, image_path, choose, image_id, annotation_ids, report):
  del report  # A label is the pixels that have it: no single one can be bad.
  labels_path = choose()
  labels = read_label_map(labels_path, options=options)
  notes = listing.check_image(image_path, labels.shape, labels_path, options=options)
  found = count_parts(labels)
  # Parts that become instances are no sign of anything.
  counts.append(found._replace(parts=dict.fromkeys(found.parts, 1)) if split else found)
  return listing.Content(image_path, labels.shape, [
      make_annotation(next(annotation_ids), image_id, _CATEGORIES[0]["id"], rle, crowd=False)
      for rle in encode_labels(split_labels(labels) if split else labels).values()], notes)
