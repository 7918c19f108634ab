"""Logs of runs are read back, and the page shows their numbers."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from helpers.report_pages import read_page
from mnc_jax.evaluation.charts import run_page, runs
from mnc_jax.training.metrics_log import MetricsLog


def write_log(workdir, steps=20, *, scale=1.0, validations=()):
  """Logs losses 1 / step, and validations as (step, mAP^r)."""
  scores = dict(validations)
  with MetricsLog(workdir, first_step=1) as log:
    for step in range(1, steps + 1):
      log.add_scalars({"train/loss": scale / step, "train/gradient_norm": 3.0}, step)
      if step in scores:
        log.add_scalars({"validation/mean_ap_r_50": scores[step], "validation/loss": 0.5}, step)
  return workdir


def test_the_log_of_a_run_is_read_back(tmp_path):
  run = runs.read_run(write_log(tmp_path / "a", 3, validations=[(2, 0.25)]))
  assert run.name == str(tmp_path / "a")
  assert set(run.series) == {"train/loss", "train/gradient_norm", "validation/mean_ap_r_50",
                             "validation/loss"}
  np.testing.assert_array_equal(run.series["train/loss"].steps, [1, 2, 3])
  np.testing.assert_array_equal(run.series["train/loss"].values, [1, 1 / 2, 1 / 3])
  assert run.series["validation/mean_ap_r_50"].values == [0.25]


def test_lines_that_are_no_steps_are_named(tmp_path):
  lines = ['{"step": 1, "a": 1.0}', "moved to another cluster", '{"step": 2, "a": null}', "[1]",
           '{"step": 2.5, "a": 1}', '{"step": 3, "a": "x"}',
           '{"step": 4, "a": 4}', '{"step": 5, "a']
  (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
  with pytest.warns(UserWarning, match=r"5 lines left out, no record of a step: number 2, 4, 5"):
    series = runs.read_run(tmp_path).series["a"]
  np.testing.assert_array_equal(series.steps, [1, 2, 4])
  np.testing.assert_array_equal(series.values, [1, np.nan, 4])


def test_a_folder_without_a_log_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"metrics.jsonl: no such file. Give the --workdir"):
    runs.read_run(tmp_path / "none")
  write_log(tmp_path, 1)
  with pytest.raises(FileNotFoundError, match=rf"did you mean {tmp_path}\?"):
    runs.read_run(tmp_path / "best")
  (tmp_path / "metrics.jsonl").write_text("")
  with pytest.raises(ValueError, match=r"metrics.jsonl has no steps"):
    runs.read_run(tmp_path)


@pytest.mark.parametrize(("count", "most", "steps"), [
    (0, 3, []), (2, 3, [0, 1]), (3, 3, [0, 1, 2]), (4, 3, [0.5, 2.5]), (7, 3, [1, 4, 6])])
def test_points_are_thinned_to_means_of_neighbours(count, most, steps):
  series = runs.Series(np.arange(count), 2.0 * np.arange(count)).thin(most)
  assert series.steps.tolist() == steps
  assert series.values.tolist() == [2 * step for step in steps]


def chart_heights(name, values, kind="train"):
  log = runs.RunLog("a", {f"{kind}/{name}": runs.Series(np.arange(len(values)), np.array(values))})
  svg = run_page.draw_runs([log], name)
  path = next(part for part in ET.fromstring(svg).iter("path") if part.get("class") == "line")
  return [float(point.split()[1]) for point in path.get("d")[1:].split("L")], svg


def test_losses_of_the_first_steps_do_not_flatten_the_others():
  losses = [700.0, *np.linspace(4, 2, 19)]
  heights, svg = chart_heights("loss", losses)
  assert "values up to 700 are at the edge" in svg
  assert heights[0] == 16  # The upper edge.
  limit = 3 * np.quantile(losses, 0.9)
  assert heights[1] == pytest.approx(258 - (258 - 16) * 4 / limit, abs=0.01)
  assert "at the edge" not in chart_heights("loss", np.linspace(9, 2, 20))[1]


def test_scores_are_never_cut_off():
  heights, svg = chart_heights("mean_ap_r_50", [0.0] * 19 + [0.9], kind="validation")
  assert "at the edge" not in svg
  assert heights[-1] == 16 and heights[0] == 258


def test_values_that_are_not_finite_are_no_points():
  series = runs.Series(np.arange(4), np.array([1, np.nan, 3, 4])).thin(2)
  np.testing.assert_array_equal(series.steps, [1, 3])
  np.testing.assert_array_equal(series.values, [2, 4])


def test_a_row_has_the_last_losses_and_the_best_scores(tmp_path):
  run = runs.read_run(write_log(tmp_path, 20, validations=[(5, 0.5), (10, 0.75), (20, 0.25)]))
  row = run_page.describe_run(run, "red")
  assert (row.steps, row.not_finite) == (20, 0)
  assert row.loss == pytest.approx((1 / 19 + 1 / 20) / 2)
  assert row.best == ((0.75, 10), None)


def test_a_chart_has_the_points_of_the_log(tmp_path):
  logs = [runs.read_run(write_log(tmp_path / name, 4, scale=scale, validations=[(4, 0.5)]))
          for name, scale in (("a", 1), ("b", 2))]
  chart = ET.fromstring(run_page.draw_runs(logs, "loss"))
  lines = {line.findtext("title"): line.get("d") for line in chart if line.get("class") == "line"}
  # Steps 0 ... 4 are at 56 ... 448 pixels, losses 0 ... 2 at 258 ... 16.
  assert lines[f"{tmp_path / 'a'}, train"] == "M154 137L252 197.5L350 217.67L448 227.75"
  assert lines[f"{tmp_path / 'b'}, train"] == "M154 16L252 137L350 177.33L448 197.5"
  dots = [dot for dot in chart if dot.tag == "circle"]
  assert [(dot.get("cx"), dot.get("cy")) for dot in dots] == [("448", "197.5")] * 2
  assert dots[0].findtext("title") == f"{tmp_path / 'a'}, validation, step 4: 0.5"


def test_each_validation_is_a_dot_of_its_own(tmp_path):
  scores = [(step, 0.9 if step == 77 else 0.3) for step in range(1, 151)]
  log = runs.read_run(write_log(tmp_path / "a", 150, validations=scores))
  chart = ET.fromstring(run_page.draw_runs([log], "mean_ap_r_50"))
  titles = [dot.findtext("title") for dot in chart if dot.tag == "circle"]
  assert len(titles) == 150 and f"{tmp_path / 'a'}, validation, step 77: 0.9" in titles


def test_the_page_compares_runs(tmp_path):
  logs = [runs.read_run(write_log(tmp_path / name, validations=scores)) for name, scores in (
      ("a<b>", [(10, 0.5), (20, 0.625)]), ("c", []))]
  path = tmp_path / "plot.html"
  path.write_text(run_page.make_run_page(logs, differences=[("train.seed", ["0", "<1>"])]))
  root = read_page(path)
  table, = root.find("table", id="runs")
  assert [[cell.text() for cell in row.children if not isinstance(cell, str)]
          for row in table.find("tr")[1:]] == [
              [str(tmp_path / "a<b>"), "20", "0.051", "0.625 step 20", "–"],
              [str(tmp_path / "c"), "20", "0.051", "–", "–"]]
  assert [cell.text() for cell in root.find("table", id="differences")[0].find("td")] == [
      "0", "<1>"]
  assert [caption.text() for caption in root.find("figcaption")] == [
      "mAP^r at IoU .5", "loss, all stages", "gradient norm"]
  assert not root.find("script")
  assert "http" not in path.read_text()


def test_values_not_finite_are_counted_on_the_page(tmp_path):
  with MetricsLog(tmp_path, first_step=1) as log:
    log.add_scalars({"train/loss": float("nan")}, 1)
  assert json.loads((tmp_path / "metrics.jsonl").read_text())["train/loss"] is None
  run = runs.read_run(tmp_path)
  assert run_page.describe_run(run, "red").loss is None
  (tmp_path / "plot.html").write_text(run_page.make_run_page([run]))
  table, = read_page(tmp_path / "plot.html").find("table", id="runs")
  assert table.find("th")[5].text() == "values not finite"
  assert table.find("td")[-1].text() == "1"
