"""Results whose file names contradict their image ids."""

import json
import warnings

import pytest

from helpers.records_by_hand import LEFT, RIGHT, make_ground_truth, make_result
from mnc_jax.evaluation.metrics.records import read_files
from mnc_jax.evaluation.metrics.scoring import score_results

# In this order, with ids from 0; `mnc predict` sorts the names: apple 0, mango 1, zebra 2.
NAMES = ("zebra.jpg", "apple.jpg", "mango.jpg")
PLACES = (LEFT, RIGHT, ((10, 20), (0, 10)))


def _ground_truth(names=NAMES):
  found = make_ground_truth([(number, 1, *place, 0) for number, place in enumerate(PLACES)],
                            images=range(3))
  for image, name in zip(found["images"], names):
    image["file_name"] = name
  return found


def _results(ids, names, folder="/data/my images/"):
  """Perfect results of the images `names`, numbered by `ids`."""
  place_of = dict(zip(NAMES, PLACES))
  return [make_result(image_id, 1, *place_of[name], 0.9) | {"file_name": f"{folder}{name}"}
          for image_id, name in zip(ids, names)]


@pytest.fixture
def score(tmp_path):
  """A function that reads two files and returns mAP^r at IoU .5 and the number of results."""
  def read(ground_truth, results):
    (tmp_path / "gt.json").write_text(json.dumps(ground_truth))
    (tmp_path / "res.json").write_text(json.dumps(results))
    found = read_files(tmp_path / "gt.json", tmp_path / "res.json", "sds")
    return score_results(*found, protocols=("sds",))["0.5"]["mean_ap_area"], len(found[1])
  return read


def test_file_names_say_which_image_is_meant(score):
  with pytest.warns(UserWarning, match=(
      r"res.json: image ids contradict file names \(id 0 is '/data/my images/apple.jpg' there and "
      r"'zebra.jpg' in .*gt.json\): images were matched by file name; results without "
      r"category_name: category ids were taken as they are$")):
    assert score(_ground_truth(), _results((0, 1, 2), sorted(NAMES))) == (1, 3)
  results = [row | {"category_name": "cat"} for row in _results((0, 1, 2), sorted(NAMES))]
  with pytest.warns(UserWarning, match="images were matched by file name$"):
    assert score(_ground_truth(), results) == (1, 3)


def test_ids_that_are_right_are_kept_without_a_word(score):
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    assert score(_ground_truth(), _results((0, 1, 2), NAMES)) == (1, 3)
    # Results without names, or a ground truth without, have nothing but ids.
    results = [{k: v for k, v in row.items() if k != "file_name"}
               for row in _results((0, 1, 2), sorted(NAMES))]
    assert score(_ground_truth(), results) == (0, 3)
    assert score(_ground_truth(()), _results((0, 1, 2), sorted(NAMES))) == (0, 3)


def test_an_unknown_id_is_no_fault_if_the_name_is_known(score):
  with pytest.warns(UserWarning, match=r"id 7 is .*zebra.jpg' there and no image of .*gt.json"):
    assert score(_ground_truth(), _results((7, 8, 9), NAMES)) == (1, 3)


def test_results_of_other_files_are_left_out_and_counted(score):
  results = _results((0, 1, 2), sorted(NAMES))
  results += [results[0] | {"image_id": 3, "file_name": "kiwi.jpg"}] * 2
  with pytest.warns(UserWarning, match=r"res.json: 2 results of 1 files that are not in .*gt.json, "
                                       "such as 'kiwi.jpg', were left out"), (
       pytest.warns(UserWarning, match="image ids contradict file names")):
    assert score(_ground_truth(), results) == (1, 3)


def test_a_result_of_another_file_does_not_make_right_ids_wrong(score):
  """Two images have the same name, so that only the ids say which is meant."""
  results = _results((0, 1, 2), NAMES)
  del results[0]["file_name"]
  results[1]["file_name"] = results[2]["file_name"] = "a.jpg"
  results.append(results[1] | {"image_id": 1, "file_name": "kiwi.jpg"})
  with pytest.warns(UserWarning, match="1 results of 1 files .* 'kiwi.jpg', were left out"):
    assert score(_ground_truth(("zebra.jpg", "1/a.jpg", "2/a.jpg")), results) == (1, 3)


def test_the_error_names_a_file_of_the_ground_truth(score):
  results = _results((0, 1, 2), sorted(NAMES))
  del results[2]["file_name"]
  other = results[0] | {"image_id": 9, "file_name": "kiwi.jpg"}
  with pytest.raises(ValueError, match=r"result 3 has no file_name .* file '/data/my images/apple"):
    score(_ground_truth(), [other, *results])


def test_folders_decide_between_equal_names(score):
  folders = [f"{number}/{name}" for number, name in enumerate(("a.jpg", "a.jpg", "a.jpg"))]
  results = _results((2, 0, 1), NAMES)
  for row, name in zip(results, folders, strict=True):
    row["file_name"] = "D:\\set\\" + name.replace("/", "\\")
  with pytest.warns(UserWarning, match="were matched by file name"):
    assert score(_ground_truth(folders), results) == (1, 3)


def test_a_name_that_fits_several_images_is_an_error(score):
  with pytest.raises(ValueError, match=r"file name 'a.jpg' fits the images 1, 2 of .*gt.json"):
    score(_ground_truth(("zebra.jpg", "1/a.jpg", "2/a.jpg")), [
        row | {"file_name": name}
        for row, name in zip(_results((1, 1), NAMES[:2]), ("zebra.jpg", "a.jpg"))])


def test_a_result_without_name_cannot_be_matched_by_name(score):
  results = _results((0, 1, 2), sorted(NAMES))
  del results[1]["file_name"]
  with pytest.raises(ValueError, match=r"result 1 has no file_name and another has the image id 0, "
                                       r"but the file .*apple.jpg', which is another image"):
    score(_ground_truth(), results)


def test_a_damaged_result_is_rejected_as_such(score):
  results = _results((0, 1, 2), sorted(NAMES))
  results[1]["image_id"] = [1]
  with pytest.raises(ValueError, match=r"res.json: result 1: image_id \[1\] is not an integer"):
    score(_ground_truth(), results)


def test_a_damaged_name_is_rejected_where_ids_are_wrong(score):
  results = _results((0, 1, 2), sorted(NAMES))
  results[1]["file_name"] = ["x"]
  with pytest.raises(ValueError, match="result 1 has no file_name and another has the image id 0"):
    score(_ground_truth(), results)


def test_names_of_another_kind_leave_the_ids(score):
  with pytest.warns(UserWarning, match="none of its 3 file names, such as 'x0.png', is in .*gt.js"):
    assert score(_ground_truth(), [row | {"file_name": f"x{number}.png"} for number, row in
                                   enumerate(_results((0, 1, 2), NAMES))]) == (1, 3)
