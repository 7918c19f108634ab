"""Numbers that were written as text or as whole floats."""

import json

import numpy as np
import pytest

from helpers.records_by_hand import LEFT, RIGHT, make_ground_truth, make_result
from helpers.toy_sets import coco_content
from mnc_jax.coco.faults import raise_fault
from mnc_jax.coco.numeric import parse_numbers
from mnc_jax.coco.rle import decode_mask
from mnc_jax.coco.segmentation import read_segmentation
from mnc_jax.data.readers.coco_file import read_coco_file
from mnc_jax.evaluation.metrics.records import read_files
from mnc_jax.evaluation.metrics.scoring import score_results


@pytest.mark.parametrize(("value", "number"), [
    ("7", 7), (" 007 ", 7), ("7.0", 7), (7.0, 7), ("1e3", 1000), (str(2 ** 62 + 1), 2 ** 62 + 1)])
def test_whole_numbers(value, number):
  (row,) = parse_numbers({"images": [{"id": value}]})["images"]
  assert row == {"id": number} and type(row["id"]) is int


@pytest.mark.parametrize("value", [
    "", "a7", "7a", "0x7", "1_0", "nan", "inf", "1e999", "9" * 5000, 7.5, "7.5", 2.0 ** 60,
    float("nan"), True, None, [7], "\u0667"])
def test_whatever_else_stays_as_it_is(value):
  (row,) = parse_numbers({"images": [{"id": value}]})["images"]
  assert row["id"] is value


def test_content_of_another_form_stays_as_it_is():
  for content in (None, "7", 7, {}, {"images": "7"}, [3, "x"], {"images": [None, 3, {}]}):
    assert parse_numbers(content) == content


@pytest.mark.parametrize("write", [str, float])
def test_a_file_of_such_numbers_is_the_file_of_numbers(tmp_path, write):
  content = coco_content()
  expected = tmp_path / "expected.json"
  expected.write_text(json.dumps(content))
  for section, fields in (("images", ("id", "height", "width")), ("categories", ("id",)),
                          ("annotations", ("id", "image_id", "category_id", "iscrowd"))):
    for row in content[section]:
      row |= {field: write(row[field]) for field in fields}
  first, crowd, _ = content["annotations"]
  first |= {"area": str(first["area"]), "bbox": [write(side) for side in first["bbox"]]}
  crowd["segmentation"]["size"] = [write(side) for side in crowd["segmentation"]["size"]]
  (tmp_path / "found.json").write_text(json.dumps(content))
  one, other = (read_coco_file(path, raise_fault)._replace(path=expected)
                for path in (expected, tmp_path / "found.json"))
  assert one == other


def test_results_too(tmp_path):
  ground_truth = make_ground_truth([(1, 1, *LEFT, 0), (2, 1, *RIGHT, 0)])
  results = [make_result(1, 1, *LEFT, 0.9), make_result(2, 1, *RIGHT, 0.8)]
  for row in results:
    row |= {"image_id": str(row["image_id"]), "category_id": 1.0, "score": str(row["score"])}
  for name, content in (("gt", ground_truth), ("res", results)):
    (tmp_path / f"{name}.json").write_text(json.dumps(content))
  files = read_files(tmp_path / "gt.json", tmp_path / "res.json", "sds")
  assert [row["score"] for row in files[1]] == [0.9, 0.8]
  assert score_results(*files, protocols=("sds",))["0.7"]["mean_ap_area"] == 1


def test_a_polygon_without_its_outer_list_or_as_points():
  polygon = [2, 3, 8, 3, 8, 7, 2, 7]
  expected = np.zeros((12, 16), np.uint8)
  expected[3:7, 2:8] = 1
  points = [[2, 3], [8, 3], [8.0, 7], [2, 7]]
  for shape in ([polygon], polygon, points):
    np.testing.assert_array_equal(decode_mask(read_segmentation(shape, 12, 16)), expected)
