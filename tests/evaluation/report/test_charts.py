"""The charts of the report show the numbers of the metrics."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from helpers import report_sets as sets
from helpers.report_pages import read_page
from mnc_jax.evaluation.metrics import curves, voc
from mnc_jax.evaluation.metrics.confusion import confusion_matrix
from mnc_jax.evaluation.metrics.errors import classify_errors
from mnc_jax.evaluation.report import charts, matrix, write_report


def points_of(line):
  """Returns the pixels that a line goes through."""
  return [tuple(map(float, point.split())) for point in line.attrib["d"][1:].split("L")]


def lines_of(text):
  return {line.findtext("title"): points_of(line)
          for line in ET.fromstring(text).iter("path") if line.get("class") == "line"}


def make_perfect():
  ground_truth, _ = sets.make_set()
  return ground_truth, [record | {"score": 1.0} for record in ground_truth["annotations"]
                        if not record.get("iscrowd")]


def make_charts(ground_truth, results, **options):
  options = {"iou_threshold": 0.5, "min_score": 0.3} | options
  judged = classify_errors(ground_truth, results, **options)
  return charts.make_charts(ground_truth, results, judged, *options.values())


def test_lines_of_a_category_are_its_curve():
  ground_truth, results = sets.make_set()
  scored = curves.match_scored(ground_truth, results)
  wide, strict = (curves.precision_curves(scored, at)[sets.CAT] for at in (0.5, 0.7))
  lines = lines_of(charts.draw_category("cat", [wide, strict]))
  expected = voc.average_precisions(ground_truth, results).thresholds[0.5].ap_11point[sets.CAT]
  points = lines[f"IoU 0.5: AP^r {expected:.3f}"]
  # Precision 1/2 up to a recall of 1/3, 2/5 up to 2/3, and 0 beyond; recall 0 ... 1 is at 26 ...
  # 142 pixels, precision at 98 ... 8.
  places = [(0, 1 / 2), (1 / 3, 1 / 2), (1 / 3, 2 / 5), (2 / 3, 2 / 5), (2 / 3, 0)]
  np.testing.assert_allclose(
      points, [(26 + 116 * recall, 98 - 90 * precision) for recall, precision in places], atol=0.01)


def test_a_line_turns_only_where_something_was_found():
  # Found, found, nothing, found, and three times nothing; of four.
  true = np.array([1, 1, 0, 1, 0, 0, 0])
  precisions = voc.best_from_here(voc.count_precision(true)[1])
  curve = curves.Curve(np.cumsum(true) / 4, precisions, 0.0, 0.0)
  assert charts.list_corners(curve) == [(0, 1), (0.5, 1), (0.5, 0.75), (0.75, 0.75), (0.75, 0)]
  nothing = curves.Curve(np.zeros(2), np.zeros(2), 0.0, 0.0)
  assert charts.list_corners(nothing) == [(0, 0), (1, 0)]


def test_the_page_has_the_scores_of_the_metrics(tmp_path):
  ground_truth, results = sets.make_set()
  root = read_page(write_report(tmp_path, ground_truth, results, None))
  scores = voc.average_precisions(ground_truth, results).thresholds
  section, = root.find("section", id="curves")
  assert [key.text() for key in section.find("span", class_="key")] == [
      f"IoU {at:g}: mAP^r {scores[at].mean_ap_11point:.3f}" for at in (0.5, 0.7)]
  captions = [figure.find("figcaption")[0].text() for figure in section.find("figure")]
  worst_first = sorted((scores[0.5].ap_11point[name], name) for name in (sets.CAT, sets.DOG))
  assert captions == [
      f"{name} {scores[0.5].ap_11point[name]:.3f} · {scores[0.7].ap_11point[name]:.3f}"
      for _, name in worst_first]
  error = curves.calibrate(curves.match_scored(ground_truth, results), 0.5, min_score=0.3).error
  text = root.find("section", id="calibration")[0].text()
  # The one result of 8 that is ignored, and the one below .3, do not count.
  assert f"Over the 6 results scoring 0.3 or more the mean distance, the expected calibration " \
         f"error, is {error:.3f}" in text


def test_cells_of_the_matrix_are_its_counts():
  ground_truth, results = sets.make_set()
  names = [category["name"] for category in ground_truth["categories"]]
  counts = confusion_matrix(classify_errors(ground_truth, results, min_score=0.3), [1, 2, 3])
  cells = [cell.findtext("title") for cell in ET.fromstring(matrix.draw_matrix(counts, names))
           if cell.get("class") == "cell"]
  assert [int(tip.split()[0]) for tip in cells] == counts.ravel().tolist()[:-1]
  assert cells[3] == f"2 of 3 instances {sets.CAT}: missed"
  assert cells[4] == f"1 of 2 instances {sets.DOG}: given {sets.CAT}"
  assert cells[13] == f"2 results {sets.DOG} that count for no instance"


def test_bars_are_the_shares_and_lines_the_scores():
  ground_truth, results = sets.make_set()
  calibration = curves.calibrate(curves.match_scored(ground_truth, results), 0.5)
  chart = ET.fromstring(charts.draw_calibration(calibration, 0.5))
  filled = np.flatnonzero(calibration.counts)
  bars = [bar for bar in chart if bar.get("class") == "share"]
  heights = [float(bar.get("height")) for bar in bars]
  np.testing.assert_allclose(heights, 198 * calibration.shares[filled], atol=0.01)
  marks = [float(mark.get("d").split()[1].split("H")[0]) for mark in chart
           if mark.get("class") == "mean"]
  np.testing.assert_allclose(marks, 226 - 198 * calibration.scores[filled], atol=0.01)
  tips = [re.match(r"(\d+) results scoring ([\d.]+) to", bar.findtext("title")) for bar in bars]
  assert [(int(tip[1]), float(tip[2])) for tip in tips] == [
      (calibration.counts[row], pytest.approx(row / 10)) for row in filled]


def test_a_perfect_network(tmp_path):
  perfect = make_charts(*make_perfect())
  # Precision 1 is at 28 pixels, recall 0 ... 1 at 44 ... 448.
  for points in lines_of(perfect.precision).values():
    assert {y for _, y in points} == {28.0}
    assert (points[0][0], points[-1][0]) == (44.0, 448.0)
  assert [key for key, _ in perfect.keys] == ["IoU 0.5: mAP^r 1.000", "IoU 0.7: mAP^r 1.000"]
  for one in perfect.categories:
    assert one.scores == (1, 1)
    assert list(lines_of(one.chart).values()) == [
        [(26.0, 8.0), (142.0, 8.0), (142.0, 98.0)]] * 2
  assert perfect.calibration_error == 0
  assert lines_of(perfect.calibration)[None] == [(44.0, 226.0), (448.0, 28.0)]
  counts = [cell.text or cell[0].tail for cell in ET.fromstring(perfect.matrix)
            if cell.get("class") == "count"]
  assert counts == ["3", "2"]
  page = read_page(write_report(tmp_path, *make_perfect(), None))
  assert "is 0.000" in page.find("section", id="calibration")[0].text()


def test_of_many_categories_those_with_confusions_are_shown_and_the_others_joined():
  counts = np.zeros((31, 31), np.int64)
  np.fill_diagonal(counts[:-1], 10)
  counts[24, 29], counts[25, 26], counts[30, 7], counts[7, 30] = 5, 6, 3, 2
  names = [f"name {number}" for number in range(30)]
  joined, kept, several = matrix.join_rare(counts, names)
  assert several and joined.shape == (21, 21)
  assert joined.sum() == counts.sum()
  assert kept[-1] == "11 others"
  assert {"name 24", "name 29", "name 25", "name 26"} < set(kept)
  assert joined[kept.index("name 24"), kept.index("name 29")] == 5
  assert joined[19, 19] == 110
  assert matrix.join_rare(counts, names, most=30) == (counts, names, False)
  assert matrix.draw_matrix(counts, names).count('class="cell"') == 21 * 21 - 1


def test_of_many_categories_the_further_charts_unfold(tmp_path):
  ground_truth, _ = sets.make_set()
  ground_truth["categories"] = [{"id": number, "name": f"<{number}>"} for number in range(1, 31)]
  ground_truth["annotations"] = [sets.make_record(1, number, sets.LEFT, id=number)
                                 for number in range(1, 31)]
  section, = read_page(write_report(tmp_path, ground_truth, [], None)).find("section", id="curves")
  assert len(section.find("figure")) == 30
  details, = section.find("details")
  assert len(details.find("figure")) == 18
  assert details.find("summary")[0].text() == "18 further categories"
  text = (tmp_path / "index.html").read_text()
  assert "The 11 categories with fewest confusions are joined" in " ".join(text.split())


def test_nothing_to_draw(tmp_path):
  ground_truth, results = sets.make_set()
  empty = make_charts(ground_truth | {"annotations": []}, [])
  assert (empty.precision, empty.categories, empty.calibration, empty.matrix) == ("", [], "", "")
  assert make_charts(ground_truth | {"annotations": []}, results).precision == ""
  # One category has no charts beside the mean, which is its own.
  one = ground_truth | {"annotations": ground_truth["annotations"][:1]}
  assert make_charts(one, []).categories == []
  page = read_page(write_report(tmp_path, ground_truth | {"images": [], "annotations": []}, [],
                                None)).text()
  for note in ("The set has no instances.", "There are no results.", "neither instances nor"):
    assert note in page
