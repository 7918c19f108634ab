"""The one schema of COCO files: the same file gets the same answer in training and in scoring."""

import copy
import json
import pathlib

import numpy as np
import pytest

from helpers.toy_sets import coco_content
from mnc_jax.coco import content
from mnc_jax.coco.faults import raise_fault
from mnc_jax.data.readers.coco_file import read_coco_file
from mnc_jax.evaluation.metrics.records import check_records, read_files
from mnc_jax.evaluation.metrics.scoring import score_results


def _changed(section, index, **fields):
  """The toy file with fields of one row replaced; a field given as None is removed."""
  changed = coco_content()
  row = {**changed[section][index], **fields}
  changed[section][index] = {name: value for name, value in row.items() if value is not None}
  return changed


def _with_image_id(image_id):
  """The toy file with another id of its first image, also in its annotations."""
  changed = _changed("images", 0, id=image_id)
  for row in changed["annotations"]:
    row["image_id"] = image_id if row["image_id"] == 4 else row["image_id"]
  return changed


def _write(folder: pathlib.Path, found):
  (folder / "gt.json").write_text(found if isinstance(found, str) else json.dumps(found))
  (folder / "res.json").write_text("[]")
  return folder / "gt.json"


def _read_to_score(path):
  return read_files(path, path.with_name("res.json"), "sds")[0]


READERS = (lambda path: read_coco_file(path, raise_fault), _read_to_score)
HUGE = 2 ** 70


@pytest.mark.parametrize(("found", "message"), [
    ("no json", " is not JSON"),
    ([], " is not in COCO format: list instead of an object"),
    ({"images": [], "annotations": []}, " is not in COCO format: no list 'categories'"),
    ({"images": [], "annotations": [], "categories": []}, ": 'categories' is empty"),
    # Ids. Text, negative and boolean ones were scored, but not trained on.
    (_with_image_id("a9"), ": item 0 of 'images' (id 'a9'): id 'a9' is not an integer"),
    (_with_image_id("9"), ": item 1 of 'images' (id 9): id 9 occurs twice"),
    (_with_image_id(-1), ": item 0 of 'images' (id -1): id -1 is not in 0 ... 2**63 - 1"),
    (_changed("images", 1, id=True), ": item 1 of 'images' (id True): id True is not an integer"),
    (_changed("images", 0, id=HUGE), f": item 0 of 'images' (id {HUGE}): id {HUGE} is not in 0"),
    (_changed("annotations", 2, id=2 ** 63), f": id {2 ** 63} is not in 0 ... 2**63 - 1"),
    (_changed("annotations", 2, id=1), ": item 2 of 'annotations' (id 1): id 1 occurs twice"),
    (_changed("images", 2, id=9), ": item 2 of 'images' (id 9): id 9 occurs twice"),
    (_changed("categories", 1, id=20), ": item 1 of 'categories' (id 20): id 20 occurs twice"),
    (_changed("categories", 1, id="5.."), ": item 1 of 'categories' (id '5..'): id '5..' is not"),
    (_changed("annotations", 0, image_id=[8]), ": image_id [8] is not an integer"),
    (_changed("annotations", 2, image_id=8),
     ": annotation 3 of image 8: image_id 8 is not in the file"),
    (_changed("annotations", 0, category_id=77),
     ": annotation 1 of image 4: category_id 77 is not in the file"),
    (_changed("annotations", 0, image_id=None),
     ": item 0 of 'annotations' (id 1): no field 'image_id'"),
    (coco_content() | {"annotations": ["x"]}, ": item 0 of 'annotations': 'x' is not an object"),
    # Names. Scoring printed what cannot be written, and then failed.
    (_changed("categories", 1, name="tree"), ": categories 20 and 5 are both called 'tree'"),
    (_changed("categories", 1, name=" tree"),
     ": categories 20 and 5 are both called 'tree', but for spaces around it"),
    (_changed("categories", 1, name=5), ": category 5: name 5 is not text"),
    (_changed("categories", 1, name="\udfff"), r": category 5: name '\udfff': the character"),
    # Sizes.
    (_changed("images", 1, height=None), ": item 1 of 'images' (id 9): no field 'height'"),
    (_changed("images", 1, width=0), ": image 9: height 10 and width 0 are not integers of at "),
    (_changed("images", 1, width=True), ": image 9: height 10 and width True are not"),
    (_changed("images", 1, width=10.5), ": image 9: height 10 and width 10.5 are not"),
    (_changed("images", 1, height=HUGE), f": image 9: height {HUGE} and width 10 are not"),
    (_changed("images", 1, width=2 ** 27), f": image 9: height 10 and width {2 ** 27} are not"),
    # Areas. Scoring never counted an instance of a negative area.
    (_changed("annotations", 0, area=-5), ": annotation 1 of image 4: area -5 is not a number"),
    (_changed("annotations", 0, area=2e9), ": annotation 1 of image 4: area 2000000000.0 is"),
    (_changed("annotations", 0, area="5 px"), ": annotation 1 of image 4: area '5 px' is not a"),
    (_changed("annotations", 0, area=10 ** 400), ": annotation 1 of image 4: area 1000000"),
    (_changed("annotations", 0, area=float("nan")), ": annotation 1 of image 4: area nan is not"),
    # Boxes. A negative side was an empty annotation to train on, and a fault in scoring.
    (_changed("annotations", 0, bbox=[1, 1, -2, 3]), ": annotation 1 of image 4: bbox [1, 1, -2,"),
    (_changed("annotations", 0, bbox=[1, 2, 3]), ": annotation 1 of image 4: bbox [1, 2, 3] is"),
    (_changed("annotations", 0, bbox="1234"), ": annotation 1 of image 4: bbox '1234' is not"),
    (_changed("annotations", 0, bbox=["a", 2, 3, 4]), ": annotation 1 of image 4: bbox ['a', 2,"),
    (_changed("annotations", 0, bbox=[0, 0, 1e308, 9]), ": annotation 1 of image 4: bbox [0, 0, 1"),
    (_changed("annotations", 0, bbox=[1, 2, 10 ** 400, 1]), ": annotation 1 of image 4: bbox [1, "),
    (_changed("annotations", 0, bbox=[1, 2, 3, float("nan")]), ": annotation 1 of image 4: bbox"),
    (_changed("annotations", 0, iscrowd="no"), ": annotation 1 of image 4: iscrowd 'no' is"),
    (_changed("annotations", 0, iscrowd=float("nan")), ": annotation 1 of image 4: iscrowd nan is"),
    # Masks.
    (_changed("annotations", 0, segmentation=[["1", "1", "5", "1", "5", "5"]]),
     ": annotation 1 of image 4: segmentation has a polygon that is not a list of numbers"),
    (_changed("annotations", 0, segmentation=[[10 ** 400, 2, 3, 4, 5, 6]]),
     ": annotation 1 of image 4: segmentation has a polygon with a coordinate that is not finite"),
    (_changed("annotations", 1, segmentation={"size": [16, 12], "counts": [192]}),
     ": annotation 2 of image 4: segmentation has the size [16, 12]"),
])
def test_training_and_scoring_reject_the_same_file_with_one_message(tmp_path, found, message):
  path = _write(tmp_path, found)
  messages = []
  for read in READERS:
    with pytest.raises(ValueError) as caught:
      read(path)
    messages.append(str(caught.value))
  assert f"{path}{message}" in messages[0] or (
      message in messages[0] and messages[0].startswith(str(path)))
  assert messages[0] == messages[1]
  assert "\n" not in messages[0] and len(messages[0]) < len(str(path)) + 300


@pytest.mark.parametrize("found", [
    coco_content(),
    _with_image_id(0), _with_image_id(2 ** 63 - 1),
    _changed("annotations", 0, iscrowd=0.0),  # Training rejected it.
    _changed("annotations", 0, iscrowd=True),
    _changed("annotations", 0, area=0), _changed("annotations", 0, area=None),
    _changed("annotations", 0, bbox=None),
    _changed("annotations", 0, bbox=[1, 1, 0, 3]),  # Empty, see below.
])
def test_training_and_scoring_accept_the_same_file(tmp_path, found):
  path = _write(tmp_path, found)
  for read in READERS:
    assert len(read(path)) > 0


def test_a_file_name_matters_only_where_files_are_opened(tmp_path):
  for name, message in ((5, "file_name 5 is not text"), (None, "no field 'file_name'"),
                        ("b\0", r"file_name 'b\x00': the character '\x00' cannot be written")):
    path = _write(tmp_path, _changed("images", 1, file_name=name))
    with pytest.raises(ValueError) as caught:
      read_coco_file(path, raise_fault)
    assert str(caught.value) == f"{path}: image 9: {message}"
    assert len(_read_to_score(path)["images"]) == 3


def test_masks_matter_only_where_masks_are_used(tmp_path):
  path = _write(tmp_path, _changed("annotations", 0, segmentation=None))
  with pytest.raises(ValueError, match="annotation 1 of image 4: no field 'segmentation'"):
    read_coco_file(path, raise_fault)
  boxes = [{"image_id": 9, "category_id": 5, "score": 1, "bbox": [-5, -5, 10, 10]}]
  path.with_name("res.json").write_text(json.dumps(boxes))
  ground_truth, results = read_files(path, path.with_name("res.json"), "coco")
  scores = score_results(ground_truth, results, protocols=("coco",))
  assert scores["per_category"]["bbox"]["bird"]["AP"] == pytest.approx(1)


def test_an_empty_box_is_no_instance_to_learn_but_one_to_miss(tmp_path):
  path = _write(tmp_path, _changed("annotations", 0, bbox=[1, 1, 0, 3]))
  coco = read_coco_file(path, raise_fault)
  assert coco.empty_ids == [1] and [len(found) for found in coco.annotations] == [1, 1, 0]
  scores = score_results(_read_to_score(path), [], protocols=("coco",))
  assert scores["instances"] == {"tree": 1, "bird": 1}


def test_an_image_that_is_dropped_takes_its_annotations_along():
  faults = []
  found = content.check_content(_changed("images", 0, width=-1), name="x", report=faults.append)
  assert [fault.item for fault in faults] == ["image"]
  assert list(found.images) == [9, 2]
  assert [row["id"] for row in found.annotations] == [3]


def test_annotations_of_an_id_that_two_files_have_are_dropped():
  """Merged exports: the instances of one file must not become those of the other."""
  faults, rows = [], _changed("images", 2, id=9)
  names = [row["file_name"] for row in rows["images"] if row["id"] == 9]
  found = content.check_content(rows, name="x", report=faults.append)
  assert 9 not in found.images
  assert not [row for row in found.annotations if row["image_id"] == 9]
  assert f"x: image 9: {names[0]}, {names[1]} have this id" in faults[-1].message


def test_an_image_that_is_listed_twice_is_kept_once():
  rows = coco_content()
  rows["images"].append(dict(rows["images"][0]))
  faults = []
  found = content.check_content(rows, name="x", report=faults.append)
  assert len(found.images) == len(coco_content()["images"])
  assert len(found.annotations) == len(coco_content()["annotations"])
  assert len(faults) == 1 and "occurs twice" in faults[0].message


def test_numbers_of_numpy_are_numbers():
  found = coco_content()
  for row in found["annotations"]:
    row["image_id"], row["area"] = np.int64(row["image_id"]), np.float32(5)
  before = copy.deepcopy(found)
  result = {"image_id": np.int64(4), "category_id": 5, "bbox": [1, 2, 3, 4]}
  check_records(found, [result | {"score": np.float32(0.5)}], kind="bbox")
  assert found == before
