"""Several protocols in one dict, and its tables."""

import csv
import io
import json

import numpy as np
import pytest

from helpers.records_by_hand import (
  LEFT,
  TWO_CATS,
  make_box_result,
  make_ground_truth,
  make_result,
  random_records,
)
from mnc_jax.coco import content
from mnc_jax.evaluation.metrics import boundary, coco, voc
from mnc_jax.evaluation.metrics.scoring import score_results
from mnc_jax.evaluation.metrics.tables import format_csv, format_table
from mnc_jax.evaluation.report import write_report


@pytest.fixture(scope="module")
def random_scores():
  """Records, and their scores by all protocols."""
  gt, results = random_records(np.random.default_rng(4))
  return gt, results, score_results(gt, results)


@pytest.mark.parametrize("protocol", ["sds", "coco", "boundary"])
@pytest.mark.parametrize(("segmentation", "message"), [
    ({"size": [20, 20], "counts": [5, 5]}, "counts for 10 pixels, its image 400"),
    ({"size": [20, 20], "counts": [5, 5000]}, "counts for 5005 pixels, its image 400"),
    ({"size": [20, 20], "counts": "55"}, "counts for 10 pixels, its image 400"),
    ([[0, 0, 5, 5, 5]], "not a flat list of x, y pairs"),
    (None, "segmentation None is neither a list of polygons"),
])
def test_masks_that_pycocotools_would_hang_on_are_named(protocol, segmentation, message):
  wrong = make_result(1, 1, *LEFT, 0.5) | {"segmentation": segmentation}
  with pytest.raises(ValueError, match=f"image 1: a mask of category 1 cannot be used.*{message}"):
    score_results(make_ground_truth(TWO_CATS), [wrong], protocols=(protocol,))


def test_all_protocols_are_in_one_dict(random_scores):
  gt, results, scores = random_scores
  assert json.loads(json.dumps(scores)) == scores
  masks, boxes = (voc.average_precisions(gt, results, kind=kind) for kind in ("segm", "bbox"))
  for part, score in ((scores, masks), (scores["boxes"], boxes)):
    assert part["0.7"]["ap_area"] == score.thresholds[0.7].ap_area
    assert part["0.5"]["mean_ap_11point"] == score.thresholds[0.5].mean_ap_11point
    assert part["ap_vol_11point"] == score.ap_vol_11point
  for name, score in (("segm", coco.average_precisions(gt, results)),
                      ("bbox", coco.average_precisions(gt, results, kind="bbox")),
                      ("boundary", boundary.average_precisions(gt, results))):
    assert scores[name] == score.numbers
    assert scores["per_category"][name] == score.categories
  assert len({scores[name]["AP"] for name in ("segm", "bbox", "boundary")}) == 3
  assert sum(scores["instances"].values()) == 25
  assert scores["left_out"] == []


def test_records_are_checked_once_for_all_protocols(monkeypatch):
  gt, results = random_records(np.random.default_rng(4))
  checked = []
  monkeypatch.setattr(content, "check_results", lambda rows, *_, **__: checked.append(len(rows)))
  score_results(gt, results)
  assert checked == [len(results)]


def test_each_protocol_alone_has_its_own_keys():
  gt, mask = make_ground_truth(TWO_CATS), make_result(1, 1, *LEFT, 0.9)
  box = make_box_result(1, 1, *LEFT, 0.9)
  always = {"instances", "left_out"}
  def keys(results, protocol):
    return set(score_results(gt, results, protocols=(protocol,))) - always
  assert keys([mask], "sds") == {"0.5", "0.7", "ap_vol_11point"}
  assert keys([mask | box], "sds") == {"0.5", "0.7", "ap_vol_11point", "boxes"}
  of_coco = {"per_category", "max_results", "highest_recall"}
  assert keys([mask], "coco") == {"segm"} | of_coco
  assert keys([box], "coco") == {"bbox"} | of_coco
  assert keys([mask | box], "coco") == keys([], "coco") == {"segm", "bbox"} | of_coco
  assert keys([mask], "boundary") == {"boundary"} | of_coco


def test_the_table_tells_that_a_perfect_network_cannot_score_1():
  places = [(1, 1, (row, row + 1), (0, 20)) for row in range(16)]
  gt = make_ground_truth([(*place, 0) for place in places])
  perfect = [make_result(*place, 0.5) for place in places]
  limited = score_results(gt, perfect, max_results=12)
  assert limited["highest_recall"] == 0.75
  assert limited["segm"]["AP"] == limited["boundary"]["AP"] == pytest.approx(76 / 101, abs=1e-12)
  assert "the best 12 results count" in format_table(limited)
  assert "a perfect network has recall 0.750" in format_table(limited)
  assert "AR12" in format_table(limited)
  assert "mask AR12" in format_csv(limited).splitlines()[0]
  whole = score_results(gt, perfect)
  assert whole["segm"]["AP"] == pytest.approx(1, abs=1e-12)
  assert "perfect network" not in format_table(whole)


def test_what_cannot_be_scored_is_rejected():
  gt, mask = make_ground_truth(TWO_CATS), make_result(1, 1, *LEFT, 0.9)
  box = make_box_result(1, 1, *LEFT, 0.9)
  for protocol in ("sds", "boundary"):
    with pytest.raises(ValueError, match="result 0 of image 1 has no 'segmentation'"):
      score_results(gt, [box], protocols=(protocol,))
  with pytest.raises(ValueError, match="result 1 of image 1 has no 'bbox'"):
    score_results(gt, [mask | box, mask], protocols=("coco",))
  with pytest.raises(ValueError, match="protocol 'voc' is not known: sds, coco, boundary"):
    score_results(gt, [mask], protocols=("voc",))


def test_the_text_table_has_the_numbers():
  scores = score_results(make_ground_truth(TWO_CATS), [make_result(1, 1, *LEFT, 0.9)])
  lines = format_table(scores).splitlines()
  assert lines[0].split() == ["category", "instances", "AP^r@0.5", "AP^r@0.7", "mask", "AP",
                              "mask", "AP50", "mask", "AP75"]
  # One of two instances: 6 of 11 points, 51 of 101.
  assert lines[2].split() == ["cat", "2", "0.545", "0.545", *["0.505"] * 3]
  assert lines[4].split() == ["mean", "2", "0.545", "0.545", *["0.505"] * 3]
  assert len({len(line) for line in lines[:5]}) == 1
  assert lines[6].split() == ["category", "boundary", "AP", "boundary", "AP50", "boundary", "AP75"]
  assert lines[10].split() == ["mean", *["0.505"] * 3]
  assert lines[11] == "AP^r_vol, mean over IoU .1 to .9: 0.545"
  assert lines[13].split() == ["COCO", *scores["boundary"]]
  assert lines[14].split() == ["mask", "0.505", "0.505", "0.505", "0.505", "-", "-",
                              "0.500", "0.500", "0.500", "0.500", "-", "-"]
  assert lines[-1] == "without ground truth, in no mean: dog"


def test_a_wide_table_is_continued_below(random_scores):
  _, _, scores = random_scores
  scores = scores | {"left_out": [f"category {number}" for number in range(30)]}
  lines = format_table(scores).splitlines()
  assert max(map(len, lines)) <= 100
  heads = [line for line in lines if line.startswith("category ")]
  assert heads[0].split()[:6] == ["category", "instances", "AP^r@0.5", "AP^r@0.7", "AP^b@0.5",
                                  "AP^b@0.7"]
  assert heads[1].endswith("boundary AP75")
  titles = f"{heads[0]} {heads[1]}"
  assert [titles.count(f" {kind} AP75") for kind in ("mask", "box", "boundary")] == [1, 1, 1]
  cats = [line.split() for line in lines if line.startswith("cat ")]
  assert sum(map(len, cats)) == 2 + 1 + 4 + 9
  assert cats[1][-1] == f"{scores['per_category']['boundary']['cat']['AP75']:.3f}"
  assert "category 29" in lines[-1]


def test_the_csv_has_every_number(random_scores):
  _, _, scores = random_scores
  rows = list(csv.reader(io.StringIO(format_csv(scores))))
  head, cat, dog, mean = rows
  assert head[:6] == ["category", "instances", "AP^r@0.5 11point", "AP^r@0.5 area",
                      "AP^r@0.7 11point", "AP^r@0.7 area"]
  assert head[6:10] == [title.replace("^r", "^b") for title in head[2:6]]
  assert head[10:] == [f"{kind} {number}" for kind in ("mask", "box", "boundary")
                       for number in scores[{"mask": "segm", "box": "bbox"}.get(kind, kind)]]
  assert (cat[0], dog[0], mean[0]) == ("cat", "dog", "mean")
  assert int(mean[1]) == int(cat[1]) + int(dog[1]) == 25
  def at(row, title):
    return row[head.index(title)]
  assert float(at(dog, "AP^b@0.7 area")) == scores["boxes"]["0.7"]["ap_area"]["dog"]
  assert float(at(cat, "boundary AR100")) == scores["per_category"]["boundary"]["cat"]["AR100"]
  assert float(at(mean, "mask AP")) == scores["segm"]["AP"]
  assert at(mean, "mask APl") == ""  # In images of 40 x 50 nothing is large.


def test_a_placeholder_of_roboflow_is_no_category(tmp_path):
  ground_truth = make_ground_truth([(1, 1, *LEFT, 0)], images=(1,))
  ground_truth["categories"] = [{"id": 0, "name": "farm", "supercategory": "none"},
                                {"id": 1, "name": "cat", "supercategory": "farm"}]
  results = [make_result(1, 1, *LEFT, 0.9)]
  with pytest.warns(UserWarning, match="the ground truth: category 0, 'farm', was left out"):
    scores = score_results(ground_truth, results)
  assert scores["left_out"] == [] and set(scores["instances"]) == {"cat"}
  with pytest.warns(UserWarning, match="category 0, 'farm', was left out") as caught:
    page = write_report(tmp_path, ground_truth, results, None)
  assert len(caught) == 1 and "<option" in page.read_text() and "farm" not in page.read_text()
