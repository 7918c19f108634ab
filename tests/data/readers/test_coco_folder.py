"""Folders in COCO format, as they are listed for preparation, with all their faults."""

import json

import cv2
import numpy as np
import pytest

from helpers.toy_sets import coco_content, read_listing
from mnc_jax.data.listing import split_names
from mnc_jax.data.readers.coco import list_coco, load_coco


def _write(path, content):
  path.parent.mkdir(exist_ok=True)
  path.write_text(json.dumps(content))


def _write_images(folder, content):
  folder.mkdir(parents=True, exist_ok=True)
  for image in content["images"]:
    size = image["height"], image["width"], 3
    cv2.imwrite(str(folder / image["file_name"]), np.full(size, 70, np.uint8))


@pytest.mark.parametrize(("annotations", "images"), [
    ("annotations/instances_{}2017.json", "{}2017"),
    ("instances_{}.json", "images/{}"),
    ("instances_{}.json", "images"),
    ("annotations/instances_{}.json", "."),
    ("annotations/instances_{}2017.json", "{}"),
    ("instances_{}_all.json", "images/{}"),
])
def test_layouts_with_two_files(tmp_path, annotations, images):
  for split in ("train", "val"):
    content = coco_content()
    for image in content["images"]:
      image["file_name"] = f"{split}_{image['file_name']}"
    _write(tmp_path / annotations.format(split), content)
    _write_images(tmp_path / images.format(split), content)
  _write(tmp_path / "annotations" / "captions_train2017.json", {})
  found, contents, faults = read_listing(list_coco, tmp_path)
  assert not faults
  assert found.categories == [{"id": 5, "name": "bird"}, {"id": 20, "name": "tree"}]
  for split, name in (("train", "train"), ("validation", "val")):
    assert [entry.image_id for entry in found.splits[split]] == [4, 9, 2]
    path = (tmp_path / images.format(name) / f"{name}_b.png").relative_to(tmp_path).as_posix()
    assert found.splits[split][1].file_name == path
    assert [len(content.annotations) for content in contents[split]] == [2, 1, 0]
    first = contents[split][0].annotations[0]
    assert (first["id"], first["category_id"], first["area"]) == (1, 20, 24.5)


def test_the_folder_of_the_files_own_name_comes_first(tmp_path):
  for split in ("train", "val"):
    _write(tmp_path / f"instances_{split}2017.json", coco_content())
    for name in (split, f"{split}2017"):
      _write_images(tmp_path / name, coco_content())
  splits = list_coco(tmp_path, None).splits
  assert [splits[split][0].file_name for split in ("train", "validation")] == [
      "train2017/a.png", "val2017/a.png"]


@pytest.mark.parametrize(("name", "others"), [
    ("photographs.json", []),
    ("annotations/instances_all.json", ["annotations/captions_all.json"]),
    ("instances_train.json", []),
    ("annotations/instances_val2017.json", ["captions_val2017.json"]),
])
def test_a_single_file_is_split_by_image(tmp_path, name, others):
  _write(tmp_path / name, coco_content())
  for other in others:
    _write(tmp_path / other, {})
  _write_images(tmp_path / "images", coco_content())
  found, contents, _ = read_listing(list_coco, tmp_path)
  names = split_names([f"images/{name}.png" for name in ("a", "b", "empty")])
  assert {split: [entry.file_name for entry in entries]
          for split, entries in found.splits.items()} == names
  assert sum(len(c.annotations) for split in contents.values() for c in split) == 3


@pytest.mark.parametrize(("files", "message"), [
    ([], "found: none"),
    (["instances_train.json", "instances_all.json"],
     r"one instances_val\*.json, or one .*; found: instances_all.json, instances_train.json"),
    (["a.json", "annotations/b.json"], "found: a.json, annotations/b.json"),
    (["instances_train2014.json", "instances_train2017.json", "instances_val2017.json"],
     "found: instances_train2014.json, instances_train2017.json, instances_val2017.json"),
])
def test_ambiguous_files_are_rejected(tmp_path, files, message):
  for name in files:
    _write(tmp_path / name, coco_content())
  with pytest.raises(ValueError, match=message):
    list_coco(tmp_path, None)


def test_images_that_are_nowhere(tmp_path):
  _write(tmp_path / "instances_all.json", coco_content())
  with pytest.raises(ValueError, match="first 3 images, such as 'a.png', is in .*all, .*images/"):
    list_coco(tmp_path, None)


def test_different_categories(tmp_path):
  for split in ("train", "val"):
    content = coco_content()
    content["categories"][0]["name"] = split
    _write(tmp_path / f"instances_{split}.json", content)
  with pytest.raises(ValueError, match=r"val.json has 2; number 2 is 'train \(id 20\)' in the "
                                       r"first and 'val \(id 20\)' in the second"):
    list_coco(tmp_path, None)


def _bad_content():
  """Eight bad annotations, three bad images, and the rows of `coco_content`."""
  content = coco_content()
  sound = content["annotations"][0]
  content["annotations"] += [
      sound, sound | {"id": 11, "category_id": 77}, sound | {"id": 12, "image_id": 99},
      sound | {"id": 13, "segmentation": {"size": [12, 16], "counts": [5, 5]}},
      sound | {"id": 14, "bbox": [1, 2, 0, 4]}, sound | {"id": 15, "segmentation": []},
      {"id": 16}, "nothing",
      # Goes with its image, which is the fault.
      sound | {"id": 17, "image_id": 30}]
  content["images"] += [{"id": 30, "file_name": "a.png", "height": 0, "width": 16},
                        {"id": 9, "file_name": "b.png", "height": 12, "width": 16},
                        {"id": 31, "file_name": 5, "height": 12, "width": 16}]
  return content


def test_bad_items_are_reported_and_dropped(tmp_path):
  _write(tmp_path / "all.json", _bad_content())
  _write_images(tmp_path, coco_content())
  found, contents, faults = read_listing(list_coco, tmp_path)
  assert sorted(e.image_id for entries in found.splits.values() for e in entries) == [2, 4, 9]
  kept = [a["id"] for split in contents.values() for c in split for a in c.annotations]
  assert sorted(kept) == [1, 2, 3]
  assert [fault.message.removeprefix(f"{tmp_path / 'all.json'}: ") for fault in faults] == [
      "image 30: height 0 and width 16 are not integers of at least 1 with at most 134217728 "
      "pixels",
      "item 4 of 'images' (id 9): id 9 occurs twice",
      "image 31: file_name 5 is not text",
      "item 3 of 'annotations' (id 1): id 1 occurs twice",
      "annotation 11 of image 4: category_id 77 is not in the file",
      "annotation 12 of image 99: image_id 99 is not in the file",
      "annotation 13 of image 4: segmentation has counts for 10 pixels, its image 192",
      "item 9 of 'annotations' (id 16): no field 'image_id'",
      "item 10 of 'annotations': 'nothing' is not an object",
      "annotation 14 has an empty box or mask",
      "annotation 15 has an empty box or mask"]
  assert [fault.item for fault in faults] == ["image"] * 3 + ["annotation"] * 8


def test_a_bad_id_takes_its_annotations_along(tmp_path):
  content = coco_content()
  content["images"][0]["id"] = content["annotations"][0]["image_id"] = -4
  content["annotations"][1]["image_id"] = 2 ** 70
  _write(tmp_path / "all.json", content)
  _write_images(tmp_path, content)
  found, _, faults = read_listing(list_coco, tmp_path)
  assert sorted(e.image_id for entries in found.splits.values() for e in entries) == [2, 9]
  assert [fault.message.split(": ", 1)[1] for fault in faults if fault.item != "set"] == [
      "item 0 of 'images' (id -4): id -4 is not in 0 ... 2**63 - 1",
      f"annotation 2 of image {2 ** 70}: image_id {2 ** 70} is not in the file"]


def test_read_directly_the_first_of_them_is_an_error(tmp_path):
  _write(tmp_path / "all.json", _bad_content())
  _write_images(tmp_path, coco_content())
  with pytest.raises(ValueError, match="image 30: height 0"):
    load_coco(tmp_path / "all.json", tmp_path)


def test_a_bad_category_is_an_error_also_in_preparation(tmp_path):
  content = coco_content()
  content["categories"].append({"id": 20, "name": "bush"})
  _write(tmp_path / "all.json", content)
  with pytest.raises(ValueError, match=r"item 2 of 'categories' \(id 20\): id 20 occurs twice"):
    list_coco(tmp_path, [].append)


def test_an_image_of_another_size(tmp_path):
  _write(tmp_path / "all.json", coco_content())
  _write_images(tmp_path, coco_content())
  cv2.imwrite(str(tmp_path / "b.png"), np.zeros((5, 6, 3), np.uint8))
  with pytest.raises(ValueError, match=r"b.png is 5 x 6 .* 10 x 10 in .*all.json \(image id 9\)"):
    read_listing(list_coco, tmp_path)


def test_photographs(shared_dir):
  folder = shared_dir / "data" / "coco_mini"
  found, contents, faults = read_listing(list_coco, folder)
  assert not faults
  source = load_coco(folder / "instances_val.json", folder / "val")
  assert [entry.image_id for entry in found.splits["validation"]] == source.image_ids.tolist()
  for index, content in enumerate(contents["validation"]):
    assert content.annotations == source.read_annotations(index)
    assert content.image.name == source.file_names[index]
  assert len(found.splits["train"]) == 288
