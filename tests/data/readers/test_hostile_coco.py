"""Hostile COCO files: each was once read as valid, or ended the process."""

import json

import cv2
import numpy as np
import pytest

from helpers.toy_sets import coco_content
from mnc_jax.coco import rle
from mnc_jax.coco.content import read_json
from mnc_jax.coco.rle import decode_masks, encode_mask
from mnc_jax.coco.segmentation import read_segmentation
from mnc_jax.data.readers.coco import load_coco
from mnc_jax.data.records import BrokenImageError


def test_outlines_as_long_as_the_memory_are_rejected():
  # pycocotools took 80 GB for these, and did not ask whether it got them.
  with pytest.raises(ValueError, match="outlines of [0-9]+ pixels, more than 4194304"):
    read_segmentation([[-1e6, 0, 1e6, 5] * 3000], 12, 16)


def test_images_of_too_many_pixels_are_rejected():
  with pytest.raises(ValueError, match="its image has 65536 x 65536 pixels, more than 134217728"):
    read_segmentation({"size": [2**16, 2**16], "counts": [2**32]}, 2**16, 2**16)


@pytest.mark.parametrize("counts", [[3, 0, 5, 8], [0, 0, 4, 6, 6], [4, 2, 0, 3, 7, 0]])
def test_runs_of_no_pixels_do_not_end_a_mask(counts):
  from pycocotools import mask as mask_api
  pixels = np.repeat(np.arange(len(counts)) % 2, counts).reshape((4, 4), order="F")
  found = read_segmentation({"size": [4, 4], "counts": counts}, 4, 4)
  # Its IoU with itself was 0, or its union with itself smaller than it.
  assert found == encode_mask(pixels)
  assert mask_api.iou([found], [found], [0]) == 1
  assert mask_api.area(mask_api.merge([found, found])) == pixels.sum()


def test_deep_nesting_is_rejected(tmp_path):
  path = tmp_path / "deep.json"
  path.write_text("[" * 200_000)
  with pytest.raises(ValueError, match="deep.json cannot be read: .* nested deeper than"):
    read_json(path)


def test_a_repeated_field_is_rejected(tmp_path):
  path = tmp_path / "twice.json"
  path.write_text('[{"id": 1, "score": 0.5, "score": 0.9}]')
  with pytest.raises(ValueError, match="twice.json is not JSON: .* field 'score' twice"):
    read_json(path)


def _link(folder, name, target):
  (folder / name).symlink_to(target)
  return name


@pytest.mark.parametrize("place", ["outside.png", "/dev/zero", "images/circle.png"])
def test_links_out_of_the_folder_of_images_are_rejected(write_coco, tmp_path, place):
  content = coco_content()
  path, images = write_coco(content)
  cv2.imwrite(str(tmp_path / "outside.png"), np.zeros((12, 16, 3), np.uint8))
  content["images"][0]["file_name"] = _link(images, "circle.png", tmp_path / place)
  path.write_text(json.dumps(content))
  with pytest.raises(BrokenImageError, match=r"circle\.png"):
    load_coco(path, images)[0]


def test_a_linked_folder_and_links_inside_it_are_read(write_coco, tmp_path):
  content = coco_content()
  path, images = write_coco(content)
  content["images"][0]["file_name"] = _link(images, "other.png", images / "a.png")
  path.write_text(json.dumps(content))
  (tmp_path / "linked").symlink_to(images)
  assert load_coco(path, tmp_path / "linked")[0].image.shape == (12, 16, 3)


def test_masks_that_unpack_to_too_much_are_rejected(monkeypatch):
  monkeypatch.setattr(rle, "_MOST_MASK_PIXELS", 100)
  mask = encode_mask(np.ones((6, 9)))
  assert decode_masks([mask], (6, 9)).shape == (1, 6, 9)
  with pytest.raises(ValueError, match="2 masks of 6 x 9 pixels are more than 100 pixels"):
    decode_masks([mask, mask], (6, 9))
