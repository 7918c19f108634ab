"""Results whose category names contradict their category ids."""

import json
import warnings

import pytest

from helpers.records_by_hand import LEFT, RIGHT, make_ground_truth, make_result
from mnc_jax.evaluation.metrics.records import read_files
from mnc_jax.evaluation.metrics.scoring import score_results

NAMES = ("cat", "dog", "cow")
PLACES = (LEFT, RIGHT, ((10, 20), (0, 10)))


def _results(names=NAMES):
  """Perfect results of the categories 1, 2 and 3, called `names`."""
  return [make_result(1, number, *place, 0.9) | ({"category_name": name} if name else {})
          for number, (place, name) in enumerate(zip(PLACES, names, strict=True), 1)]


@pytest.fixture
def score(tmp_path):
  """A function that returns mAP^r at .5 of results on a ground truth with these names and ids."""
  def read(results, names=NAMES, ids=(1, 2, 3)):
    ground_truth = make_ground_truth([(1, NAMES.index(name) + 1, *PLACES[NAMES.index(name)], 0)
                                      for name in names], categories=names)
    id_of = dict(zip(names, ids, strict=True))
    for row in ground_truth["annotations"]:
      row["category_id"] = id_of[NAMES[row["category_id"] - 1]]
    for row in ground_truth["categories"]:
      row["id"] = id_of[row["name"]]
    (tmp_path / "gt.json").write_text(json.dumps(ground_truth))
    (tmp_path / "res.json").write_text(json.dumps(results))
    found = read_files(tmp_path / "gt.json", tmp_path / "res.json", "sds")
    return score_results(*found, protocols=("sds",))["0.5"]["mean_ap_area"]
  return read


def test_category_names_say_which_category_is_meant(score):
  with pytest.warns(UserWarning, match=(
      r"res.json: category ids contradict category names \(id 1 is 'cat' there and 'cow' in "
      r".*gt.json\): categories were matched by name$")):
    assert score(_results(), ids=(3, 2, 1)) == 1


def test_an_unknown_id_is_no_fault_if_the_name_is_known(score):
  with pytest.warns(UserWarning, match=r"id 1 is 'cat' there and no category of .*gt.json\)"):
    assert score(_results(), ids=(70, 80, 90)) == 1


def test_ids_that_are_right_are_kept_without_a_word(score):
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    assert score(_results()) == 1
    # Without names, or with some that agree, there is nothing but ids.
    assert score(_results((None,) * 3), ids=(3, 2, 1)) == pytest.approx(1 / 3)
    assert score(_results(("cat", None, None))) == 1


def test_a_name_that_the_ground_truth_lacks_is_an_error(score):
  with pytest.raises(ValueError, match=(
      r"res.json: results with 1 unknown category_name: cow; .*gt.json has dog, cat: rename the "
      r"categories in one of the files, or remove category_name from all results")):
    score(_results(), names=("dog", "cat"), ids=(2, 1))


def test_a_result_without_name_cannot_be_matched_by_name(score):
  with pytest.raises(ValueError, match=(
      r"result 1 has no category_name and another has the category id 1, but the name 'cat', which "
      r"has another id in .*gt.json: give all results a category_name, or none")):
    score(_results(("cat", None, "cow")), ids=(3, 2, 1))


def test_a_damaged_result_is_rejected_as_such(score):
  results = _results()
  results[1]["category_id"] = [1]
  with pytest.raises(ValueError, match=r"result 1: category_id \[1\] is not an integer"):
    score(results, ids=(3, 2, 1))
