"""SBD's .mat files with fields of wrong types, bombs inside, and plain damage; VOC's PNGs."""

import functools
import struct
import zlib

import cv2
import numpy as np
import PIL.Image
import scipy.io
import scipy.sparse

from helpers.toy_sets import read_listing
from mnc_jax.data.readers.sbd import list_sbd
from mutations.damage import damage_bytes
from mutations.image_files import claim_size
from mutations.label_folders import check
from mutations.outcomes import Family

LABELS = np.array([[0, 1, 1, 255], [2, 2, 0, 255], [2, 0, 0, 1]], np.uint8)
CATEGORIES = np.array([[15.0], [3.0]])
_ODD = (
    np.array("text"), np.nan, -1.0, 300, 2**40, 1e300, np.inf, 1j, [], [[]], {"a": 1}, {},
    LABELS.astype(float) + 0.5, LABELS.astype(complex), LABELS * np.nan, LABELS.astype(bool),
    LABELS.astype(np.int64) - 1, LABELS.astype(np.uint64) * 2**40, LABELS[None], LABELS[:0],
    LABELS.ravel(), scipy.sparse.csc_array(LABELS.astype(float)), np.array([[1], "x", {}], object),
    CATEGORIES.T, CATEGORIES * 100, CATEGORIES[:1], np.array([["ab"], ["cd"]]))


def _element(kind, content):
  return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def _matrix(mat_class, dimensions, *rest, name=b""):
  """A matrix of MATLAB: flags, dimensions, name, and whatever follows."""
  return _element(14, _element(6, struct.pack("<II", mat_class, 0))
                  + _element(5, struct.pack(f"<{len(dimensions)}I", *dimensions))
                  + _element(1, name) + b"".join(rest))


_HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x100) + b"IM"


@functools.cache
def _zeros_bomb():
  """GTinst whose compressed labels are 256 megabytes of zeros."""
  pack = zlib.compressobj(1)
  count = 2**28
  head = struct.pack("<II", 14, count + 64) + _element(6, struct.pack("<II", 9, 0)) + _element(
      5, struct.pack("<II", 2**14, 2**14)) + _element(1, b"GTinst") + struct.pack("<II", 2, count)
  content = pack.compress(head) + b"".join(
      pack.compress(bytes(2**22)) for _ in range(64)) + pack.flush()
  return _HEADER + struct.pack("<II", 15, len(content)) + content


def _nested_bomb(levels):
  """Cells in cells; each length is that of all that is inside."""
  head = _element(6, struct.pack("<II", 1, 0)) + _element(5, struct.pack("<II", 1, 1)) + _element(
      1, b"")
  tags = [struct.pack("<II", 14, len(head) + number * (len(head) + 8)) for number in range(levels)]
  content = b"".join(tag + head for tag in reversed(tags))
  return _HEADER + _element(14, _element(6, struct.pack("<II", 1, 0)) + _element(
      5, struct.pack("<II", 1, 1)) + _element(1, b"GTinst") + content)


def _claims(rng):
  """Cells, structs and characters of huge dimensions without content."""
  dimensions = rng.choice(
      ((2**16, 2**16), (2**31 - 1, 2), (2**30, 1), (2**32 - 1, 1), (50_000,) * 3, (1, 1)))
  return _HEADER + _matrix(rng.choice((1, 2, 3, 4, 5, 6, 9, 17)), dimensions,
                           rng.choice((b"", _element(9, bytes(8)), _element(5, bytes(4)),
                                       _element(14, b""))),
                           name=b"GTinst")


def _write_mat(rng, path):
  way, gt = rng.randrange(16), {"Segmentation": LABELS, "Categories": CATEGORIES}
  if way == 0:
    path.write_bytes(rng.choice((_zeros_bomb, lambda: _nested_bomb(300_000),
                                 lambda: _nested_bomb(500)))())
  elif way == 1:
    path.write_bytes(_claims(rng))
  else:
    if way <= 6:
      gt[rng.choice(list(gt))] = rng.choice(_ODD)
    top = rng.choice(({"GTinst": gt},) * 12 + ({}, {"GTinst": 3}, {"GTinst": [gt, gt]}))
    scipy.io.savemat(path, top, do_compression=rng.random() < 0.5)
    if way > 6:
      path.write_bytes(damage_bytes(rng, path.read_bytes()))


def _write_pngs(rng, folder, name):
  """VOC's two PNGs with palettes, one of them damaged."""
  places = [folder / "SegmentationObject" / f"{name}.png",
            folder / "SegmentationClass" / f"{name}.png"]
  classes = np.array([0, 15, 3], np.uint8)[LABELS % 255 % 3]
  for path, pixels in zip(places, (LABELS, classes)):
    path.parent.mkdir(exist_ok=True)
    image = PIL.Image.fromarray(pixels)
    image.putpalette(bytes(range(256)) * 3)
    image.save(path)
  path = rng.choice(places)
  change = rng.choice((damage_bytes, damage_bytes, claim_size))
  path.write_bytes(change(rng, path.read_bytes()))


def write_sbd(rng, folder):
  """Writes two images in the layout of SBD or of VOC; the annotation of the first is damaged."""
  voc, names = rng.random() < 0.2, ("2008_000007", "2008_000009")
  images = folder / ("JPEGImages" if voc else "img")
  lists = folder / ("ImageSets/Segmentation" if voc else "")
  for place in (images, lists, folder / "inst"):
    place.mkdir(parents=True, exist_ok=True)
  for name, split in zip(names, ("train", "val")):
    cv2.imwrite(str(images / f"{name}.jpg"), np.full((*LABELS.shape, 3), 90, np.uint8))
    (lists / f"{split}.txt").write_text(name)
    if voc:
      _write_pngs(rng, folder, name)
    else:
      scipy.io.savemat(folder / "inst" / f"{name}.mat", {
          "GTinst": {"Segmentation": LABELS, "Categories": CATEGORIES}})
  if voc:
    (folder / "inst").rmdir()
  else:
    _write_mat(rng, folder / "inst" / f"{names[0]}.mat")
  return str(folder)


def read(folder):
  """Reads both images; the first fault is raised."""
  listing, contents, faults = read_listing(list_sbd, folder)
  if faults:
    raise ValueError(faults[0].message)
  return list(contents.values()), {
      row["id"] for row in listing.categories}


SBD = Family(write_sbd, read, check)
