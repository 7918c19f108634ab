"""Folders of images and label images, and lists that name what is not there."""

import os
import struct
import zlib

import cv2
import numpy as np
import PIL.Image

from helpers.toy_sets import read_listing
from mnc_jax.data.readers.label_images import list_label_images
from mnc_jax.data.readers.label_maps import read_label_map
from mutations.damage import damage_bytes, pack_chunk
from mutations.image_files import SIGNATURE, claim_size, png_bomb
from mutations.outcomes import Family, require
from mutations.read_records import check_annotations

SIZE = (14, 18)
LABELS = np.zeros(SIZE, np.uint16)
LABELS[2:6, 1:7], LABELS[8:12, 3:9], LABELS[1:3, 12:17] = 1, 2, 700


def _stripes(side):
  """A sound label image in which each column of each row is an instance's border."""
  row = b"\0" + (b"\1\0" * side)[:side]
  pack = zlib.compressobj(1)
  content = b"".join(pack.compress(row * 64) for _ in range(side // 64)) + pack.flush()
  return (SIGNATURE + pack_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
          + pack_chunk(b"IDAT", content) + pack_chunk(b"IEND", b""))


def _odd_labels(rng):
  """Label images of other kinds, or of other sizes."""
  return rng.choice((
      LABELS.astype(np.int32), LABELS.astype(np.float32), LABELS[:5],
      np.dstack([LABELS % 256] * 3).astype("u1"), LABELS * 0,
      -LABELS.astype(np.int32), LABELS.astype(bool),
      np.zeros((1, 1), np.uint8)))


def write_label_folder(rng, folder):
  """Writes three images with labels, and damages an image, a label image or a list."""
  for place in ("images", "labels"):
    (folder / place).mkdir()
  for name in "abc":
    cv2.imwrite(str(folder / "images" / f"{name}.png"), np.full((*SIZE, 3), 99, np.uint8))
    cv2.imwrite(str(folder / "labels" / f"{name}.png"), LABELS)
  if rng.random() < 0.5:
    (folder / "train.txt").write_text("a\nb\n")
    (folder / "val.txt").write_text("c\n")
  labels, way = folder / "labels" / "b.png", rng.randrange(16)
  if way == 0:
    labels.write_bytes(png_bomb(12_288) if rng.random() < 0.5 else _stripes(8192))
  elif way <= 3:
    labels.write_bytes(claim_size(rng, labels.read_bytes()))
  elif way <= 5:
    with labels.open("wb") as file:
      PIL.Image.fromarray(_odd_labels(rng)).save(file, format="TIFF")
  elif way == 6:
    labels.unlink()
    rng.choice((os.mkfifo, lambda path: path.symlink_to("/dev/zero"), os.mkdir))(labels)
  elif way <= 9:
    (folder / "train.txt").write_bytes(rng.choice(
        (b"../labels/a\n", b"..\n", b".\n", b"/etc/passwd", b"\0\n", b"a\na\n", b"a" * 400)) +
        damage_bytes(rng, b"a\nb\n"))
    (folder / "val.txt").write_bytes(damage_bytes(rng, b"c\n"))
  elif way == 10:
    damaged = folder / "images" / "b.png"
    damaged.write_bytes(damage_bytes(rng, damaged.read_bytes()))
  else:
    labels.write_bytes(damage_bytes(rng, labels.read_bytes()))
  return str(folder)


def read(folder):
  """Reads what the folder lists; the first fault is raised."""
  listing, contents, faults = read_listing(list_label_images, folder)
  if faults:
    raise ValueError(faults[0].message)
  read_label_map(folder / "labels" / "b.png")  # Even if no list names it.
  return list(contents.values()), {
      row["id"] for row in listing.categories}


def check(found):
  """Masks fit their image, are not empty, and no two share a pixel."""
  splits, category_ids = found
  for contents in splits:
    seen = set()  # Ids are those of a split.
    for content in contents:
      check_annotations(content.annotations, content.size, category_ids, seen)
      require(sum(one["area"] for one in content.annotations) <= np.prod(content.size),
              "masks that overlap")


LABEL_FOLDERS = Family(write_label_folder, read, check)
