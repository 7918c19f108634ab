"""COCO annotation files with wrong ids, sizes, masks, and paths of images."""

import json
import os

import cv2
import numpy as np

from helpers.toy_sets import coco_content
from mnc_jax.coco.faults import raise_fault
from mnc_jax.coco.rle import encode_mask
from mnc_jax.data.readers.coco import list_coco, load_coco
from mutations.damage import damage_bytes, damage_json, spell_json
from mutations.image_files import png_bomb
from mutations.outcomes import Family, require
from mutations.read_records import check_annotations, check_record

_SECRET = (1, 2, 250)  # The colour, blue first, of an image outside the folder.
_SIZES = {"a.png": (12, 16), "b.png": (10, 10), "empty.png": (8, 8), "../outside.png": (12, 16)}


def _content():
  content = coco_content()
  content["annotations"] += [
      {"id": 8, "image_id": 4, "category_id": 5, "iscrowd": 0,
       "segmentation": encode_mask(np.eye(12, 16) > 0)},
      {"id": 11, "image_id": 9, "category_id": 20, "iscrowd": 0, "area": 6.0, "bbox": [1, 1, 4, 3],
       "segmentation": [[1, 1, 5, 1, 5, 4], [1.5, 2.5, 3, 2, 2, 4, 1, 3]]}]
  return content


def _lie(rng, content):
  """Changes one thing that a hostile file would."""
  image, row = rng.choice(content["images"]), rng.choice(content["annotations"])
  height, width = image["height"], image["width"]
  huge = rng.choice((2**20, 2**31, 2**33, 2**62, 10**20))
  row["segmentation"], image["file_name"], image["height"], row["image_id"] = rng.choice((
      # Runs of no pixels, which pycocotools takes for a run's end.
      ({"size": [height, width], "counts": [0, 0, 5, 5, height * width - 10]}, image["file_name"],
       height, image["id"]),
      ({"size": [height, width], "counts": [3, 0, 5, 0, 0, 5, height * width - 13]},
       image["file_name"], height, image["id"]),
      ({"size": [height, width], "counts": [huge, height * width - huge]}, image["file_name"],
       height, image["id"]),
      ({"size": [height, width], "counts": "0" * 10**5}, image["file_name"], height, image["id"]),
      ({"size": [height, width], "counts": "o" * 10**5 + "0"}, image["file_name"], height,
       image["id"]),
      ({"size": [huge, width], "counts": [huge * width]}, image["file_name"], huge, image["id"]),
      # An outline as long as the memory.
      ([[-1e6, 0, 1e6, 5] * 3000], image["file_name"], height, image["id"]),
      ([[0, 0, 5, 5, 5, 0], [1e6, 1e6, -1e6, 3, 7, -1e6] * 500], image["file_name"], height,
       image["id"]),
      (row["segmentation"], "../outside.png", 12, row["image_id"]),
      (row["segmentation"], "./../images/../outside.png", 12, row["image_id"]),
      (row["segmentation"], "/dev/zero", height, row["image_id"]),
      (row["segmentation"], "..\\outside.png", 12, row["image_id"]),
      (row["segmentation"], "%2e%2e/outside.png", 12, row["image_id"]),
      # Another spelling of its own name, or of that of another image.
      (row["segmentation"], "C:\\images\\" + image["file_name"].upper(), height, row["image_id"]),
      (row["segmentation"], "images/A.png", height, row["image_id"]),
      (row["segmentation"], "a" * 300 + ".png", height, row["image_id"]),
      (row["segmentation"], "pipe", height, row["image_id"]),
      (row["segmentation"], "link.png", 12, row["image_id"]),
      (row["segmentation"], "away/outside.png", 12, row["image_id"])))
  if "outside" in image["file_name"] or "link" in image["file_name"]:
    image["width"] = 16
  return content


def _bomb(folder, content):
  """Many masks of one huge image, of which each file is small."""
  (folder / "images" / "a.png").write_bytes(png_bomb(10_240))
  content["images"][0] |= {"height": 10_240, "width": 10_240}
  content["annotations"] = [
      {"id": number, "image_id": 4, "category_id": 5, "iscrowd": 0,
       "segmentation": {"size": [10_240, 10_240], "counts": [number, 10_240**2 - number]}}
      for number in range(1000)]
  return content


def write_coco(rng, folder):
  """Writes images and an annotation file; mostly the file is damaged, sometimes an image."""
  images = folder / "images"
  images.mkdir()
  for name, size in _SIZES.items():
    colour = _SECRET if "outside" in name else (10, 20, 30)
    cv2.imwrite(str(images / name), np.full((*size, 3), colour, np.uint8))
  os.mkfifo(images / "pipe")
  (images / "link.png").symlink_to("../outside.png")
  (images / "away").symlink_to("..")
  path, content, way = folder / "instances.json", _content(), rng.randrange(20)
  if way == 0:
    damaged = images / rng.choice(("a.png", "b.png"))
    damaged.write_bytes(damage_bytes(rng, damaged.read_bytes()))
    path.write_text(json.dumps(content))
    return damaged.name
  if way == 1 and rng.random() < 0.2:
    path.write_text(json.dumps(_bomb(folder, content)))
  elif way <= 5:
    path.write_text(json.dumps(_lie(rng, content)))
  else:
    path.write_bytes(spell_json(rng, damage_json(rng, content)))
  return str(folder)


def read(folder):
  """Reads the file for training, and lists the folder for preparation; both must agree."""
  source = load_coco(folder / "instances.json", folder / "images")
  annotations = [source.read_annotations(place) for place in range(len(source))]
  records = [source[place] for place in range(len(source))]
  listing = list_coco(folder, raise_fault)
  contents = [entry.read(raise_fault) for entries in listing.splits.values() for entry in entries]
  return source, annotations, records, contents


def check(found):
  """Ids differ, masks fit and are not empty, boxes are finite, no image is from elsewhere."""
  source, annotations, records, contents = found
  ids = source.image_ids.tolist()
  require(len(set(ids)) == len(ids), "an image id twice")
  require(len(set(source.category_names)) == len(source.category_ids), "a category name twice")
  seen = set()
  for rows, size, record in zip(annotations, source.sizes.tolist(), records, strict=True):
    check_annotations(rows, size, source.category_ids, seen)
    check_record(record, len(source.category_names))
    require(not (record.image == _SECRET[::-1]).all(axis=2).any(), "an image outside the folder")
  sizes = sorted(content.size for content in contents)
  require(sizes == sorted(map(tuple, source.sizes.tolist())), "list_coco gives other images")


COCO = Family(write_coco, read, check)
