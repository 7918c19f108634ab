"""The content of a folder of images, as a reader lists it for preparation.

Listing reads names; images and their annotations are read and checked later, one at a time.
"""

import collections
from collections.abc import Callable, Container, Sequence
import hashlib
import itertools
import pathlib
import re
from typing import Any, NamedTuple

from mnc_jax.coco.faults import Fault, FaultReport
from mnc_jax.data.contrast import range_share
from mnc_jax.data.image_files import IMAGE_SUFFIXES
from mnc_jax.data.images import DEFAULT_OPTIONS, DecodedImage, ImageOptions, decode, read_encoded
from mnc_jax.data.records import Annotation, BrokenImageError

TRAIN, VALIDATION = "train", "validation"

# Ids from digits are below it, ids from hashes not; both are exact in JSON's double precision.
_FIRST_HASH = 2 ** 52
# Names whose digits are their id: a number, COCO's of twelve digits, VOC's.
_DIGITS = re.compile(r"0|[1-9][0-9]{0,14}|[0-9]{12}|[0-9]{4}_[0-9]{6}")
_HELD_OUT = 5  # One in 5 images is for validation, unless there are lists.
_COPY = re.compile(r"\.rf\.\w+")  # In the names that Roboflow gives augmented copies of an image.


class ImageNotes(NamedTuple):
  """What is counted of images that are read.

  Attributes:
    orientation: of EXIF, 1 if there is none.
    range_share: the share of the range of intensities in use, see `contrast.range_share`.
  """
  orientation: int = 1
  range_share: float = 1.0


class Content(NamedTuple):
  """An image that was read and checked, with its annotations.

  Attributes:
    image: path of the image file, or its bytes; they are stored as they are.
    size: (height, width) in pixels.
    annotations: in COCO format with RLE masks; none is empty.
    notes: on the image, of `check_image`.
  """
  image: pathlib.Path | bytes
  size: tuple[int, int]
  annotations: list[Annotation]
  notes: ImageNotes = ImageNotes()


class Entry(NamedTuple):
  """An image that a list names.

  Attributes:
    image_id: unique in its split.
    file_name: relative to the folder of the data set; "" if it has no file.
    read: returns the content, and passes annotations that cannot be used to the report. Raises
      ValueError if the image cannot be used at all.
  """
  image_id: int
  file_name: str
  read: Callable[[FaultReport], Content]


class Listing(NamedTuple):
  """A whole data set.

  Attributes:
    categories: {"id": int, "name": str} of each.
    splits: the entries by the name of the split.
    describe: returns sentences on what is odd about the set, once all entries were read.
  """
  categories: list[dict[str, Any]]
  splits: dict[str, list[Entry]]
  describe: Callable[[], list[str]] = list


def check_image(path: pathlib.Path, size: tuple[int, int], annotation_path: str | pathlib.Path,
                *, options: ImageOptions = DEFAULT_OPTIONS) -> ImageNotes:
  """Decodes the image at `path` to see that it is whole and of the `size` (h, w) annotated.

  Raises:
    BrokenImageError: as `read_annotated`.
  """
  image = read_annotated(path, size, annotation_path, options=options)
  return ImageNotes(image.orientation, range_share(image.pixels))


def read_annotated(path: pathlib.Path, size: tuple[int, int], annotation_path: str | pathlib.Path,
                   *, options: ImageOptions = DEFAULT_OPTIONS) -> DecodedImage:
  """Decodes the image at `path`, which must be of the `size` (h, w) annotated.

  Raises:
    BrokenImageError: if not, or if it cannot be decoded; names the file and `annotation_path`,
      and an EXIF orientation that explains the size.
  """
  image = decode(read_encoded(path), str(path), options=options)
  found = image.pixels.shape[:2]
  if found != tuple(size):
    raise BrokenImageError(
        f"image {path} is {found[0]} x {found[1]} (height x width), but is annotated as "
        f"{size[0]} x {size[1]} in {annotation_path}{_explain_size(image, size, options)}")
  return image


def _explain_size(image, size, options):
  """Returns what to do about sides that an EXIF orientation swaps."""
  if image.orientation < 5 or image.pixels.shape[1::-1] != tuple(size):
    return ""
  if options.exif == "stored":
    return (f". Its EXIF orientation {image.orientation} swaps the sides, and it is annotated as "
            "viewers show it: use data.exif upright (--exif upright of mnc prepare)")
  return (f", the size of its stored pixels: its EXIF orientation {image.orientation} swaps the "
          "sides. If the masks too are those of the stored pixels, use data.exif stored (--exif "
          "stored of mnc prepare)")


def stable_id(name: str) -> int:
  """Returns an image id that follows from the name alone.

  A number of at most 15 digits without leading zeros is its own id, and so are the twelve
  digits of a COCO name, "000000000139" the id 139, and the digits of a VOC name,
  "2008_000123" the id 2008000123. Any other name gives a hash, of 2**52 or more: "1_12" and
  "11_2" differ. Names of one of the three forms never share an id; of two forms they may, as
  "139" and "000000000139" do, which is reported where ids must differ.
  """
  if _DIGITS.fullmatch(name):
    return int(name.replace("_", ""))
  return _FIRST_HASH + int.from_bytes(_hash(name)[:8], "big") % _FIRST_HASH


def _hash(name):
  return hashlib.sha256(name.encode()).digest()


def split_names(names: Sequence[str]) -> dict[str, list[str]]:
  """Returns the names by split, the first fifth in the order of their hashes for validation.

  The fifth is rounded down, but at least one name: one alone is for validation. The same names
  give the same splits, in any order and on any machine. Each split keeps the order of the names.
  Augmented copies of an image, as Roboflow names them, are in one split, even beyond the fifth.
  """
  wanted, counts = max(len(names) // _HELD_OUT, 1), collections.Counter(map(_original, names))
  order = sorted(counts, key=_hash)
  before = itertools.accumulate((counts[name] for name in order), initial=0)
  held_out = {name for name, taken in zip(order, before, strict=False) if taken < wanted}
  return {TRAIN: [name for name in names if _original(name) not in held_out],
          VALIDATION: [name for name in names if _original(name) in held_out]}


def _original(name):
  return _COPY.sub("", name)


def read_lists(train: pathlib.Path, validation: pathlib.Path, report: FaultReport, *,
               known: Container[str] = ()) -> dict[str, list[str]]:
  """Returns the names by split that the files `train` and `validation` list, one per line.

  The suffix of an image is removed. Empty lines are skipped. A name that is not a file name, or
  whose id occurred before in either list, goes to `report` and is dropped.

  Args:
    train: a text file.
    validation: another.
    report: takes the faults.
    known: names without suffix of images that are there: `a.png` is one if its file is `a.png.tif`.

  Raises:
    ValueError: if a list cannot be read, or names nothing.
  """
  given: dict[int, str] = {}
  return {split: _read_list(path, given, known, report)
          for split, path in ((TRAIN, train), (VALIDATION, validation))}


def _read_list(path, given, known, report):
  names = []
  for number, line in enumerate(_read_lines(path), 1):
    name, where = _remove_suffix(line.strip(), known), f"{path}, line {number}"
    fault = _find_fault(name, where, given)
    if fault:
      report(Fault("image", fault))
    elif name:
      given[stable_id(name)] = f"{name} in {where}"
      names.append(name)
  if not names:
    raise ValueError(f"{path} names no image")
  return names


def _remove_suffix(name, known):
  stem, dot, suffix = name.rpartition(".")
  is_image = stem and f"{dot}{suffix}".lower() in IMAGE_SUFFIXES
  return stem if is_image and name not in known else name


def _read_lines(path):
  try:
    return path.read_text(encoding="utf-8-sig").splitlines()
  except OSError as error:
    raise ValueError(f"cannot read list {path}: {error.strerror}") from error
  except UnicodeDecodeError as error:
    raise ValueError(f"{path} is not text: {error}") from error


def _find_fault(name, where, given):
  if name and (pathlib.PurePath(name).name != name or "\0" in name):
    return f"{where}: {name!r} is not the name of a file"
  if name and stable_id(name) in given:
    return f"{where}: {name} has the id {stable_id(name)} of {given[stable_id(name)]}"
  return None
