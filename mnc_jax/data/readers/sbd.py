"""Instance masks of the PASCAL VOC categories: the layout of SBD and SDS, and plain VOC 2012.

Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV 2011 (SBD):
```
img/NAME.jpg   inst/NAME.mat   cls/NAME.mat   train.txt   val.txt
```
where `inst` contains `GTinst`, with `Segmentation` [h, w] (0 background, k instance k) and
`Categories` [n]. `cls` is redundant and not read. VOC 2012 (host.robots.ox.ac.uk):
```
JPEGImages/NAME.jpg   SegmentationObject/NAME.png   SegmentationClass/NAME.png
ImageSets/Segmentation/train.txt  val.txt
```
where both PNGs contain indices into a palette. In both layouts 255 is void: never an instance. Sets
in these layouts that list other categories (labelme's labelme2voc.py, CVAT) are rejected.
"""

import functools
import itertools
import pathlib

import numpy as np

from mnc_jax.coco.faults import Fault, FaultReport, list_first
from mnc_jax.data.images import DEFAULT_OPTIONS, ImageOptions, read_file
from mnc_jax.data.listing import Content, Entry, Listing, check_image, read_lists, stable_id
from mnc_jax.data.readers.label_maps import encode_labels, read_label_map
from mnc_jax.data.readers.matlab import read_struct
from mnc_jax.data.records import make_annotation

CATEGORY_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor")
_FIELDS = ("Segmentation", "Categories")  # Of GTinst.
_VOID = 255
_LARGEST = np.iinfo(np.int32).max
# Files in which tools list the categories, and the names there that are no category.
_NAME_LISTS = ("class_names.txt", "labelmap.txt")
_NO_CATEGORIES = ("", "_background_", "__background__", "background", "__ignore__", "ignored",
                  "void")
# Where the archives have their folders.
_ROOTS = ("", "dataset", "benchmark_RELEASE/dataset", "VOC2012", "VOCdevkit/VOC2012")


def list_sbd(folder: pathlib.Path, report: FaultReport, *,
             options: ImageOptions = DEFAULT_OPTIONS) -> Listing:
  """Returns the images of a folder in one of the two layouts; faults go to `report`.

  Reported are lines of the lists that are no file name, and names that occur twice, see
  `listing.read_lists`. Missing files are errors when the entry is read.

  Raises:
    ValueError: if the folder has neither layout, a list names nothing, or a file lists categories
      that are not VOC's.
  """
  for root in (folder / name for name in _ROOTS):
    _check_names(root)
    if (root / "inst").is_dir():
      return _make_listing(root, root / "img", root, _read_mat, options, report)
    if (root / "SegmentationObject").is_dir():
      return _make_listing(root, root / "JPEGImages", root / "ImageSets" / "Segmentation",
                           functools.partial(_read_pngs, options), options, report)
  raise ValueError(f"{folder} has neither the folders img and inst of SBD nor JPEGImages, "
                   "SegmentationObject and SegmentationClass of VOC 2012")


def _check_names(root):
  """Rejects a set that lists other categories than VOC's: its numbers would get VOC's names."""
  for path in (root / name for name in _NAME_LISTS):
    names = tuple(_list_names(path)) if path.is_file() else CATEGORY_NAMES
    if names != CATEGORY_NAMES:
      raise ValueError(
          f"{path} has the categories {list_first(names)}, but this reader gives the numbers in "
          f"the masks the names of VOC's {len(CATEGORY_NAMES)}: export the set in COCO format, or "
          "take the files of labelme, and use --dataset coco")


def _list_names(path):
  """Returns the categories of a list of names, or of `name:color:parts:actions` of CVAT."""
  lines = read_file(path).decode("utf-8-sig", "replace").splitlines()
  names = [line.partition(":")[0].strip() for line in lines if not line.startswith("#")]
  return [name for name in names if name.lower() not in _NO_CATEGORIES]


def _make_listing(root, images, lists, read_gt, options, report):
  categories = [{"id": label, "name": name} for label, name in enumerate(CATEGORY_NAMES, 1)]
  splits = read_lists(lists / "train.txt", lists / "val.txt", report)
  return Listing(categories, {
      split: _make_entries(root, images, read_gt, names, options)
      for split, names in splits.items()})


def _make_entries(root, images, read_gt, names, options):
  annotation_ids = itertools.count(1)
  return [
      Entry(stable_id(name), (images / f"{name}.jpg").relative_to(root).as_posix(),
            functools.partial(_read, images / f"{name}.jpg",
                              functools.partial(read_gt, root, name), annotation_ids, options))
      for name in names]


def _read(image_path, read_gt, annotation_ids, options, report):
  path, labels, categories = read_gt(report)
  notes = check_image(image_path, labels.shape, path, options=options)
  rles, annotations = encode_labels(labels), []
  for label, category_id in categories.items():
    fault = _find_fault(label in rles, category_id)
    if fault:
      report(Fault("annotation", f"{path}: instance {label} {fault}"))
    else:
      annotations.append(make_annotation(
          next(annotation_ids), stable_id(image_path.stem), category_id, rles[label], crowd=False))
  return Content(image_path, labels.shape, annotations, notes)


def _find_fault(has_pixels, category_id):
  if not has_pixels:
    return "has no pixels"
  if not 1 <= category_id <= len(CATEGORY_NAMES):
    return f"has the category {category_id}, which is not in 1 ... {len(CATEGORY_NAMES)}"
  return None


def _read_mat(root, name, report):
  """Returns the file, its labels, and the category of each label, which may have no pixels."""
  del report  # Faults of single instances are found when their masks are made.
  path = root / "inst" / f"{name}.mat"
  ground_truth = _load_mat(path)
  labels, categories = (_whole_numbers(path, field, ground_truth[field]) for field in _FIELDS)
  labels, categories = np.where(labels == _VOID, 0, labels), categories.ravel().tolist()
  if labels.max(initial=0) > len(categories):
    raise ValueError(f"annotation {path}: GTinst.Segmentation has the instance {labels.max()}, "
                     f"but GTinst.Categories has {len(categories)}")
  return path, labels, dict(enumerate(categories, 1))


def _whole_numbers(path, field, values):
  """Returns the matrix in a field as int32; MATLAB keeps whole numbers as any type."""
  full = isinstance(values, np.ndarray)
  if not full or values.ndim != 2 or values.dtype.kind not in "iuf":
    found = f"{values.dtype} of shape {values.shape}" if full else values
    raise ValueError(f"annotation {path}: GTinst.{field} is not a full matrix of real numbers, but "
                     f"{found}")
  # NaN compares as false.
  bad = values[~((values >= 0) & (values <= _LARGEST) & (values == np.floor(values)))]
  if bad.size:
    raise ValueError(f"annotation {path}: GTinst.{field} has {bad[0]}: a whole number, "
                     f"0 ... {_LARGEST}, is needed")
  return values.astype(np.int32)


def _load_mat(path):
  """Returns the fields of GTinst."""
  try:
    content = read_file(path)
  except ValueError as error:
    raise ValueError(f"cannot read annotation {error}") from error
  try:
    ground_truth = read_struct(content, "GTinst")
  except ValueError as error:
    raise ValueError(f"annotation {path} cannot be read: {error}") from error
  if ground_truth is None:
    raise ValueError(f"annotation {path} has no GTinst")
  for field in _FIELDS:
    if field not in ground_truth:
      raise ValueError(f"annotation {path} has no GTinst.{field}")
  return ground_truth


def _read_pngs(options, root, name, report):
  """Returns the file, its labels, and the category of each label that has just one."""
  path = root / "SegmentationObject" / f"{name}.png"
  classes_path = root / "SegmentationClass" / f"{name}.png"
  labels, classes = (read_label_map(one, options=options) for one in (path, classes_path))
  if labels.shape != classes.shape:
    raise ValueError(f"{path} is {labels.shape[0]} x {labels.shape[1]} (height x width), but "
                     f"{classes_path} is {classes.shape[0]} x {classes.shape[1]}")
  labels, categories = np.where(labels == _VOID, 0, labels), {}
  for label in np.unique(labels[labels > 0]).tolist():
    found = set(np.unique(classes[labels == label]).tolist()) - {_VOID}
    if len(found) == 1:
      categories[label], = found
    else:
      report(Fault("annotation", f"{path}: instance {label} has the classes {sorted(found)} in "
                                 f"{classes_path.parent.name}, one is needed"))
  return path, labels, categories
