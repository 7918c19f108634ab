"""mnc score on small files, and on those of published scores."""

import json
import subprocess
import sys

import pytest

from helpers.records_by_hand import LEFT, TWO_CATS, make_box_result, make_ground_truth, make_result
from mnc_jax import cli
from mnc_jax.cli.parse import UsageError

MASK, BOX = make_result(1, 1, *LEFT, 0.9), make_box_result(1, 1, *LEFT, 0.9)


def write(path, content):
  """Writes bytes as they are and anything else as JSON."""
  path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
  return path


@pytest.fixture
def run(tmp_path):
  """A function that scores two contents and returns the JSON that was written."""
  def run_score(results, *options, ground_truth=None, protocol="sds"):
    ground_truth = make_ground_truth(TWO_CATS) if ground_truth is None else ground_truth
    cli.call("score", ["--protocol", protocol, "--json", str(tmp_path / "new" / "out.json"),
                "--ground-truth", str(write(tmp_path / "gt.json", ground_truth)),
                "--results", str(write(tmp_path / "res.json", results)), *options])
    return json.loads((tmp_path / "new" / "out.json").read_text())
  return run_score


def test_the_json_and_the_table_hold_the_score(run, capsys):
  found = run([MASK])
  assert found["0.5"]["ap_11point"] == {"cat": pytest.approx(6 / 11)}
  assert found["0.7"]["mean_ap_area"] == pytest.approx(0.5)
  printed = capsys.readouterr().out
  assert "cat               2     0.545     0.545" in printed
  assert "out.json" in printed
  assert run([BOX], protocol="coco")["bbox"]["AP"] == pytest.approx(51 / 101)
  assert run([MASK], protocol="boundary")["boundary"]["AP75"] == pytest.approx(51 / 101)
  assert run([BOX], "--max-results", "10", protocol="coco")["max_results"] == 10


def test_what_is_scored_is_not_overwritten(run, tmp_path):
  run([MASK])
  before = (tmp_path / "res.json").read_bytes()
  for name in ("res.json", "gt.json"):
    with pytest.raises(UsageError, match=f"--json .*{name} is also what is scored"):
      run([MASK], "--json", str(tmp_path / name))
  assert (tmp_path / "res.json").read_bytes() == before


def test_a_number_of_results_without_effect_is_refused(run):
  with pytest.raises(UsageError, match="sds counts all results"):
    run([MASK], "--max-results", "50")
  with pytest.raises(UsageError, match="--max-results is 9: it must be 10 or more"):
    run([MASK], "--max-results", "9", protocol="coco")


def test_nothing_found_scores_0(run):
  assert run([])["0.5"]["mean_ap_11point"] == 0
  assert run([], protocol="coco")["segm"]["AP"] == run([], protocol="coco")["bbox"]["AR100"] == 0
  assert run([], protocol="boundary")["boundary"]["AP"] == 0


def test_crowd_regions_are_instances_where_that_is_meant(run, tmp_path):
  ground_truth = make_ground_truth(TWO_CATS)
  for row in ground_truth["annotations"]:
    row["iscrowd"] = 1
  with pytest.raises(ValueError, match="each of its 2 crowd regions is one object, mnc score"):
    run([MASK], ground_truth=ground_truth)
  cli.call("score", ["--protocol", "sds", "--json", str(tmp_path / "out.json"),
                     "--ground-truth", str(tmp_path / "gt.json"), "--crowd-as-instances",
                     "--results", str(tmp_path / "res.json")])
  found = json.loads((tmp_path / "out.json").read_text())
  assert found["0.7"]["mean_ap_area"] == pytest.approx(0.5)


def test_polygons_and_run_lengths_are_read(run):
  ground_truth = make_ground_truth(TWO_CATS)
  ground_truth["annotations"][0]["segmentation"] = [[0, 0, 10, 0, 10, 10, 0, 10]]
  lengths = {"size": [20, 20], "counts": [200] + [10, 10] * 10}
  found = run([MASK, MASK | {"segmentation": lengths}], ground_truth=ground_truth)
  assert found["0.7"]["mean_ap_area"] == 1


def test_instances_that_no_mask_can_match_are_reported(run):
  ground_truth = make_ground_truth(TWO_CATS)
  ground_truth["annotations"][1]["segmentation"] = {"size": [20, 20], "counts": [400]}
  with pytest.warns(UserWarning, match=r"gt.json: 1 annotation with an empty mask.*ids 1$"):
    assert run([MASK], ground_truth=ground_truth)["0.5"]["mean_ap_area"] == 0.5


def rle(size, counts):
  return MASK | {"segmentation": {"size": size, "counts": counts}}


@pytest.mark.parametrize(("results", "message"), [
    (b"{", "res.json is not JSON"),
    (b"\xff\xfe\x00", "res.json is not JSON"),
    ({"results": []}, "res.json: a list of results is needed"),
    ([MASK, MASK | {"image_id": 77}], "res.json: results with 1 unknown image_id: 77"),
    ([MASK | {"category_id": 5}], "res.json: results with 1 unknown category_id: 5"),
    ([{"image_id": 1, "category_id": 1}], "res.json: result 0: no field 'score'"),
    (b'[{"image_id": 1, "category_id": 1, "score": NaN}]',
     "res.json: result 0 of image 1: score nan is not a finite number"),
    ([MASK, rle([20, 30], [600])],
     "res.json: result 1 of image 1: segmentation has the size [20, 30]"),
    ([rle([20, 20], [300, 200])], "res.json: result 0 of image 1: segmentation has counts for 500"),
    ([rle([20, 20], "nonsense!")], "res.json: result 0 of image 1: segmentation has"),
    ([MASK | {"segmentation": 7}], "res.json: result 0 of image 1: segmentation 7 is neither"),
    ([MASK, BOX], "res.json: result 1 of image 1 has no 'segmentation'"),
    ([{"image_id": 1, "category_id": 1, "score": 1}],
     "res.json: no result has 'segmentation' or 'bbox'"),
])
def test_faults_of_results_are_named_with_file_and_id(run, tmp_path, results, message):
  with pytest.raises(ValueError) as caught:
    run(results)
  assert message in str(caught.value)
  assert str(tmp_path) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_faults_of_the_ground_truth_are_named_with_file_and_id(run):
  ground_truth = make_ground_truth(TWO_CATS)
  ground_truth["annotations"][1]["segmentation"]["size"] = [3, 3]
  with pytest.raises(ValueError, match=r"gt.json: annotation 1 of image 1: .* size \[3, 3\]"):
    run([MASK], ground_truth=ground_truth)
  with pytest.raises(ValueError, match="gt.json is not in COCO format: no list 'images'"):
    run([MASK], ground_truth={})


@pytest.mark.parametrize("protocol", ["sds", "coco"])
def test_a_placeholder_called_like_a_category_takes_no_part(run, protocol):
  ground_truth = make_ground_truth(TWO_CATS, categories=("cat",))
  ground_truth["categories"].append({"id": 0, "name": "cat", "supercategory": "none"})
  with pytest.warns(UserWarning, match="gt.json: category 0, 'cat', was left out") as caught:
    found = run([MASK], ground_truth=ground_truth, protocol=protocol)
  assert len(caught) == 1 and found["left_out"] == []
  values = (found["0.5"]["ap_area"] if protocol == "sds" else
            {name: numbers["AR100"] for name, numbers in found["per_category"]["segm"].items()})
  assert values == {"cat": pytest.approx(0.5)}


def test_a_mistake_ends_with_a_sentence_and_a_status(tmp_path):
  finished = subprocess.run(
      [sys.executable, "-m", "mnc_jax", "score", "--protocol", "coco", "--ground-truth",
       str(tmp_path / "none.json"), "--results", "x"], capture_output=True, text=True, check=False)
  assert finished.returncode != 0
  assert f"mnc score: cannot read {tmp_path / 'none.json'}: No such file" in finished.stderr
  assert "Traceback" not in finished.stderr


def check_same(expected, found):
  """All that is expected is found, to 1e-9."""
  assert set(expected) <= set(found)
  for key, value in expected.items():
    if isinstance(value, dict):
      check_same(value, found[key])
    else:
      assert found[key] == pytest.approx(value, abs=1e-9), key


@pytest.mark.parametrize(("protocol", "folder", "gt", "results", "key"), [
    ("sds", "sds_eval", "ground_truth", "results", None),
    ("coco", "coco_eval", "instances_val2014_100", "instances_val2014_fakesegm100_results", "segm"),
    ("coco", "coco_eval", "instances_val2014_100", "instances_val2014_fakebbox100_results", "bbox"),
])
def test_published_scores_are_reproduced(shared_dir, tmp_path, protocol, folder, gt, results,
                                         key):
  folder = shared_dir / "reference" / folder
  cli.call("score", ["--protocol", protocol, "--ground-truth", str(folder / f"{gt}.json"),
              "--results", str(folder / f"{results}.json"), "--json", str(tmp_path / "out.json")])
  expected = json.loads((folder / "expected.json").read_text())
  check_same(expected if key is None else {key: expected[key]},
             json.loads((tmp_path / "out.json").read_text()))
