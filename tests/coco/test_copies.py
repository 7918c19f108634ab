"""Rows of `images` that name one file."""

import json

import pytest

from helpers.records_by_hand import LEFT, RIGHT, make_ground_truth, make_result
from mnc_jax.coco.faults import raise_fault
from mnc_jax.data.readers.coco_file import read_coco_file
from mnc_jax.evaluation.metrics.records import read_files
from mnc_jax.evaluation.metrics.scoring import score_results
from mnc_jax.evaluation.own_ids import read_ids

BELOW = ((10, 20), (0, 10))


def _row_per_annotation():
  """Images 1 and 2 of one instance each are one file; image 3 is another of two instances."""
  found = make_ground_truth([(1, 1, *LEFT, 0), (2, 1, *RIGHT, 0), (3, 1, *LEFT, 0),
                             (3, 2, *BELOW, 0)], images=(1, 2, 3))
  for row, name in zip(found["images"], ("a.jpg", "a.jpg", "b.jpg"), strict=True):
    row["file_name"] = name
  return found


@pytest.fixture
def write(tmp_path):
  def write(content, results=()):
    (tmp_path / "gt.json").write_text(json.dumps(content))
    (tmp_path / "res.json").write_text(json.dumps(list(results)))
    return tmp_path / "gt.json", tmp_path / "res.json"
  return write


def test_rows_of_one_file_become_one_image_with_all_instances(write):
  with pytest.warns(UserWarning, match=(
      r"gt.json: 2 rows of 'images' name only 1 file \('a.jpg' 2 times\): rows of one file were "
      r"joined under the first id$")):
    coco = read_coco_file(write(_row_per_annotation())[0], raise_fault)
  assert [row["id"] for row in coco.images] == [1, 3]
  assert [[(a["id"], a["image_id"]) for a in found] for found in coco.annotations] == [
      [(0, 1), (1, 1)], [(2, 3), (3, 3)]]


@pytest.mark.parametrize(("first", "second"), [
    ("a.jpg", "./a.jpg"), ("./a.jpg", "a.jpg"), ("images/a.jpg", "images//a.jpg"),
    ("images/./a.jpg", "images/a.jpg")])
def test_two_spellings_of_one_path_are_one_file(write, first, second):
  content = _row_per_annotation()
  content["images"][0]["file_name"], content["images"][1]["file_name"] = first, second
  with pytest.warns(UserWarning, match="2 rows of 'images' name only 1 file"):
    coco = read_coco_file(write(content)[0], raise_fault)
  assert [(row["id"], row["file_name"]) for row in coco.images] == [(1, first), (3, "b.jpg")]
  assert list(map(len, coco.annotations)) == [2, 2]


def test_an_annotation_that_every_row_of_a_file_has_counts_once(write):
  content = _row_per_annotation()
  # The second row has the instance of the first too.
  content["annotations"].append(content["annotations"][0] | {"id": 50, "image_id": 2})
  with pytest.warns(UserWarning, match="and 1 annotation that an earlier row of the file has too"):
    coco = read_coco_file(write(content)[0], raise_fault)
  assert [[a["id"] for a in found] for found in coco.annotations] == [[0, 1], [2, 3]]


def test_annotations_that_an_image_has_twice_are_dropped_to_train_on(write):
  content = _row_per_annotation()
  content["images"][0]["file_name"] = "c.jpg"
  mask = content["annotations"][2]
  content["annotations"] += [
      mask | {"id": 50}, mask | {"id": 51, "iscrowd": 1}, mask | {"id": 52, "category_id": 2},
      mask | {"id": 53, "image_id": 2}, mask | {"id": 54}]
  with pytest.warns(UserWarning, match=(
      r"gt.json: 2 annotations of 9 dropped: the image has the category and mask already "
      r"\(annotation 50 is 2 again\)$")):
    coco = read_coco_file(write(content)[0], raise_fault)
  assert [[a["id"] for a in found] for found in coco.annotations] == [[0], [1, 53], [2, 3, 51, 52]]


def test_annotations_that_an_image_has_twice_are_scored_as_they_are(write):
  content = _row_per_annotation()
  content["images"][0]["file_name"] = "c.jpg"
  crowd = content["annotations"][2] | {"iscrowd": 1}  # Counts neither once nor twice.
  content["annotations"] += [content["annotations"][0] | {"id": 50}, crowd | {"id": 51},
                             crowd | {"id": 52}]
  with pytest.warns(UserWarning, match=(
      r"gt.json: 1 annotation that the image has already, equal in category and mask \(annotation "
      r"50 is 0 again\): each counts as an instance to be found")) as caught:
    found, _ = read_files(*write(content), "sds")
  assert len(caught) == 1
  assert [row["id"] for row in found["annotations"]] == [0, 1, 2, 3, 50, 51, 52]


@pytest.mark.parametrize(("first", "second"), [
    ({"file_name": "c.jpg"}, {}), ({"file_name": ""}, {"file_name": ""}),
    ({"file_name": None}, {"file_name": None}), ({"height": 30}, {})])
def test_rows_of_different_images_stay_apart(write, first, second):
  content = _row_per_annotation()
  content["images"][0] |= first
  content["images"][1] |= second
  content["annotations"] = content["annotations"][2:]
  found, _ = read_files(*write(content), "sds")
  assert [row["id"] for row in found["images"]] == [1, 2, 3]


def test_scores_are_those_of_the_joined_file(write):
  # Results of an evaluation have the id of the first row, those of others that of any row.
  results = [make_result(1, 1, *LEFT, 0.9), make_result(1, 1, *RIGHT, 0.8),
             make_result(3, 1, *LEFT, 0.7), make_result(3, 2, *BELOW, 0.7)]
  for image_id in (1, 2):
    for row in results[:2]:
      row["image_id"] = image_id
    with pytest.warns(UserWarning, match="rows of one file were joined"):
      files = read_files(*write(_row_per_annotation(), results), "sds")
    assert score_results(*files, protocols=("sds",))["0.7"]["mean_ap_area"] == 1
  with pytest.warns(UserWarning, match="rows of one file were joined"):
    files = read_files(*write(_row_per_annotation(), results[:1] + results[2:]), "sds")
  assert score_results(*files, protocols=("sds",))["0.7"]["ap_area"]["cat"] == pytest.approx(2 / 3)


def _videos():
  """Four videos of two frames each, which are numbered alike, and perfect results of them."""
  places = [((number, number + 8), (0, 10)) for number in (1, 1, 3, 3, 5, 5, 7, 7)]
  found = make_ground_truth([(number, 1, *place, 0) for number, place in enumerate(places)],
                            images=range(8))
  for row in found["images"]:
    row["file_name"] = f"frame_{row['id'] % 2}.PNG"
  return found, [make_result(number, 1, *place, 0.9) for number, place in enumerate(places)]


@pytest.mark.parametrize("folder", [None, "", "video/"])
def test_rows_that_results_tell_apart_are_not_joined(write, folder):
  content, results = _videos()
  # Of the second frame only one video has results: the first frame tells that ids are kept.
  results = [row for row in results if row["image_id"] % 2 == 0 or row["image_id"] == 1]
  if folder is not None:
    results = [row | {"file_name": f"{folder}frame_{row['image_id'] % 2}.PNG"} for row in results]
  with pytest.warns(UserWarning, match=(
      r"gt.json: 8 rows of 'images' name only 2 files \('frame_0.PNG' 4 times\), but results tell "
      r"them apart by id: each row is an image$")):
    files = read_files(*write(content, results), "sds")
  assert [row["id"] for row in files[0]["images"]] == list(range(8))
  assert score_results(*files, protocols=("sds",))["0.5"]["ap_area"]["cat"] == pytest.approx(5 / 8)


def test_ids_that_file_names_contradict_tell_nothing_apart(write):
  # Positions in a list of files, which happen to be ids of rows.
  results = [row | {"file_name": name} for row, name in (
      (make_result(1, 1, *LEFT, 0.9), "a.jpg"), (make_result(1, 1, *RIGHT, 0.8), "a.jpg"),
      (make_result(2, 1, *LEFT, 0.7), "b.jpg"), (make_result(2, 2, *BELOW, 0.7), "b.jpg"))]
  with pytest.warns(UserWarning, match="rows of one file were joined"), (
       pytest.warns(UserWarning, match="images were matched by file name")):
    files = read_files(*write(_row_per_annotation(), results), "sds")
  assert score_results(*files, protocols=("sds",))["0.7"]["mean_ap_area"] == 1


def test_predictions_get_the_first_id(write, tmp_path):
  assert read_ids(write(_row_per_annotation())[0], [tmp_path / "b.jpg", tmp_path / "a.jpg"],
                  ("dog",)).images == [3, 1]


def test_one_path_in_two_sizes_is_joined_in_each(write):
  content = make_ground_truth([(image, 1, *place, 0) for image, place in (
      (1, LEFT), (2, RIGHT), (3, LEFT), (4, RIGHT))], images=(1, 2, 3, 4))
  for row in content["images"]:
    row["file_name"] = "a.jpg"
  for row in content["images"][2:]:
    row["height"] = row["width"] = 30
  for row in content["annotations"]:
    row.pop("segmentation")
    row["bbox"] = [0, 0, 10, 10 + row["id"]]
  results = [{"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [0, 0, 10, 10]}]
  with pytest.warns(UserWarning, match="4 rows of 'images' name only 2 files"):
    found, _ = read_files(*write(content, results), "coco")
  assert [row["id"] for row in found["images"]] == [1, 3]
  assert [row["image_id"] for row in found["annotations"]] == [1, 1, 3, 3]
