"""The reader of COCO-format sets: contents and faults."""

import json

import numpy as np
from pycocotools.coco import COCO
import pytest

from helpers.toy_sets import coco_content
from mnc_jax.config import DataConfig
from mnc_jax.data import load_source, make_ground_truth
from mnc_jax.data.readers.coco import load_coco
from mnc_jax.data.records import BrokenImageError


def test_reads_polygons_rle_and_crowd(write_coco):
  source = load_coco(*write_coco(coco_content()))
  assert source.category_names == ("bird", "tree")
  assert source.category_ids == (5, 20)
  np.testing.assert_array_equal(source.image_ids, [4, 9, 2])
  np.testing.assert_array_equal(source.instance_counts, [2, 1, 0])
  np.testing.assert_array_equal(source.crowd_counts, [1, 0, 0])
  record = source[0]
  np.testing.assert_array_equal(record.image[0, 0], [30, 20, 10])
  np.testing.assert_array_equal(record.labels, [2, 1])
  np.testing.assert_array_equal(record.crowd, [False, True])
  expected = np.zeros((2, 12, 16), np.uint8)
  expected[0, 3:7, 2:8] = 1
  expected[1, :6, 1] = 1  # Runs go down the columns: 12 zeros are the first one.
  np.testing.assert_array_equal(record.masks, expected)


def test_polygon_outside_is_cut_off(write_coco):
  record = load_coco(*write_coco(coco_content()))[1]
  assert record.masks[0, :5, :5].all()
  assert record.masks.sum() == 25


def test_image_without_annotations_stays(write_coco):
  record = load_coco(*write_coco(coco_content()))[2]
  assert record.masks.shape == (0, 8, 8)
  assert record.labels.shape == record.crowd.shape == (0,)


def test_ground_truth_keeps_ids_boxes_and_areas(write_coco):
  ground_truth = make_ground_truth(load_coco(*write_coco(coco_content())))
  first, crowd, _ = ground_truth["annotations"]
  assert (first["category_id"], first["area"], first["bbox"]) == (20, 24.5, [2, 3, 6, 4])
  assert (crowd["iscrowd"], crowd["area"], crowd["bbox"]) == (1, 6, [1, 0, 1, 6])
  assert json.loads(json.dumps(ground_truth)) == ground_truth


def test_empty_annotations_are_counted(write_coco):
  content = coco_content()
  polygon = [[1, 1, 4, 1, 4, 4]]
  for place, (box, outline) in enumerate([
      ([1, 1, 0, 3], polygon), ([1, 1, 3, 3], [[1, 1, 2, 2]]),
      ([8, 8, 3, 3], [[8, 8, 11, 8, 11, 11]]), ([1, 1, 3, 3], [])]):
    content["annotations"].append({"id": 50 + place, "image_id": 2, "category_id": 5,
                                   "bbox": box, "segmentation": outline})
  with pytest.warns(UserWarning, match="dropped 4 annotations .* ids 50, 51, 52, 53$"):
    source = load_coco(*write_coco(content))
  np.testing.assert_array_equal(source.instance_counts, [2, 1, 0])


@pytest.mark.parametrize("largest", [0, 2 ** 53 + 1, 2 ** 63 - 1])
def test_ids_of_all_64_bits_are_kept(write_coco, largest):
  content = coco_content()
  content["images"][0]["id"] = content["annotations"][1]["id"] = largest
  content["categories"][1]["id"] = largest
  for row in content["annotations"]:
    row["image_id"] = largest if row["image_id"] == 4 else row["image_id"]
    row["category_id"] = largest if row["category_id"] == 5 else row["category_id"]
  source = load_coco(*write_coco(content))
  assert source.image_ids[0] == largest and largest in source.category_ids
  assert source.read_annotations(0)[1]["id"] == largest
  assert len(source[0].labels) == 2


def test_missing_image_is_found_when_it_is_read(write_coco):
  path, images = write_coco(coco_content())
  (images / "b.png").unlink()
  source = load_coco(path, images)
  assert source[0].image.shape == (12, 16, 3)
  with pytest.raises(BrokenImageError, match=r"b\.png"):
    source[1]


def test_wrong_folder_is_reported_at_once(write_coco, tmp_path):
  path, _ = write_coco(coco_content())
  with pytest.raises(ValueError, match="none of its first 3 images, such as 'a.png', is in"):
    load_coco(path, tmp_path)


def test_load_source_names_the_field(write_coco, tmp_path):
  content = coco_content()
  content["annotations"][1]["iscrowd"] = 0  # A third of crowd regions would be reported.
  path, images = (str(place) for place in write_coco(content))
  config = DataConfig(eval_annotations=path, eval_images=images)
  assert len(load_source(config, "eval")) == 3
  with pytest.raises(ValueError, match=r"data\.train_annotations is missing"):
    load_source(config, "train")
  gone = DataConfig(eval_annotations=path, eval_images=str(tmp_path / "gone"))
  with pytest.raises(ValueError, match=r"data\.eval_images: there is no folder .*gone"):
    load_source(gone, "eval")
  with pytest.raises(ValueError, match="split 'test'"):
    load_source(config, "test")


def test_photographs_as_pycocotools_reads_them(shared_dir):
  folder = shared_dir / "data" / "coco_mini"
  source = load_coco(folder / "instances_val.json", folder / "val")
  reference = COCO(str(folder / "instances_val.json"))
  assert source.instance_counts.sum() == len(reference.anns)
  crowds = 0
  for index in range(0, len(source), 3):
    record = source[index]
    found = reference.loadAnns(reference.getAnnIds(imgIds=record.image_id))
    masks = {a["id"]: reference.annToMask(a) for a in found}
    for annotation, mask in zip(source.read_annotations(index), record.masks, strict=True):
      np.testing.assert_array_equal(mask, masks[annotation["id"]])
    crowds += record.crowd.sum()
  assert crowds > 0
