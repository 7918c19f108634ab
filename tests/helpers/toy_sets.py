"""Small data sets made in code."""

import functools

import numpy as np

from mnc_jax.coco.rle import encode_mask
from mnc_jax.data.records import BrokenImageError, Source, make_annotation


def make_source(sizes, *, broken=(), instances=1):
  """A source of images that hold their own index, each with a few square instances."""
  sizes = np.array(sizes, np.int32).reshape(-1, 2)
  ids = 100 + np.arange(len(sizes))
  return Source(
      name="toy", image_ids=ids, sizes=sizes,
      instance_counts=np.full(len(sizes), instances, np.int32),
      crowd_counts=np.zeros(len(sizes), np.int32),
      category_names=("cat", "dog"), category_ids=(3, 7),
      read_image=functools.partial(_toy_image, sizes, tuple(broken)),
      read_annotations=functools.partial(_toy_annotations, ids, sizes, instances))


def _toy_image(sizes, broken, index):
  if index in broken:
    raise BrokenImageError(f"cannot read image toy_{index}.png")
  return np.full((*sizes[index], 3), index + 1, np.uint8)


def _toy_annotations(ids, sizes, instances, index):
  found = []
  for place in range(instances):
    mask = np.zeros(sizes[index], np.uint8)
    mask[2:5 + place, 1:4 + place] = 1
    found.append(make_annotation(10 * index + place + 1, ids[index], (3, 7)[place % 2],
                                 encode_mask(mask), crowd=False))
  return found


def coco_content():
  """A COCO file of three images: polygon and crowd RLE, one polygon partly outside, nothing."""
  return {
      "images": [
          {"id": 4, "file_name": "a.png", "height": 12, "width": 16},
          {"id": 9, "file_name": "b.png", "height": 10, "width": 10},
          {"id": 2, "file_name": "empty.png", "height": 8, "width": 8}],
      "annotations": [
          {"id": 1, "image_id": 4, "category_id": 20, "iscrowd": 0, "area": 24.5,
           "bbox": [2, 3, 6, 4], "segmentation": [[2, 3, 8, 3, 8, 7, 2, 7]]},
          {"id": 2, "image_id": 4, "category_id": 5, "iscrowd": 1,
           "segmentation": {"size": [12, 16], "counts": [12, 6, 12 * 15 - 6]}},
          {"id": 3, "image_id": 9, "category_id": 5, "iscrowd": 0, "bbox": [-5, -5, 10, 10],
           "segmentation": [[-5, -5, 5, -5, 5, 5, -5, 5]]}],
      "categories": [{"id": 20, "name": "tree"}, {"id": 5, "name": "bird"}],
  }


def read_listing(list_images, folder):
  """Returns the listing of a folder, its contents by split, and the reported faults."""
  faults = []
  found = list_images(folder, faults.append)
  contents = {split: [entry.read(faults.append) for entry in entries]
              for split, entries in found.splits.items()}
  return found, contents, faults
