"""mnc plot: from workdirs to a page."""

import dataclasses

import pytest

from helpers.report_pages import read_page
from mnc_jax import cli
from mnc_jax.cli.parse import UsageError
from mnc_jax.config import Config
from mnc_jax.training import run_folder
from mnc_jax.training.metrics_log import MetricsLog


def make_run(workdir, loss, **train):
  with MetricsLog(workdir, first_step=1) as log:
    for step in (1, 2, 3):
      log.add_scalars({"train/loss": loss}, step)
  config = dataclasses.replace(Config(), train=dataclasses.replace(Config().train, **train))
  run_folder.write_config(workdir, config)
  return str(workdir)


def test_runs_are_compared_with_the_fields_they_differ_in(tmp_path, capsys):
  workdirs = [make_run(tmp_path / "a", 1.5, seed=1), make_run(tmp_path / "b", 0.5, seed=2),
              make_run(tmp_path / "c", 2.5)]
  (tmp_path / "c" / "config.json").unlink()
  output = tmp_path / "new" / "plot.html"
  # Options may stand between the runs.
  cli.call("plot", [workdirs[0], "--output", str(output), *workdirs[1:], workdirs[0]])
  assert f"Written to {output}: 3 runs, 3 steps" in capsys.readouterr().out
  root = read_page(output)
  assert [row.find("td")[1].text() for row in root.find("table", id="runs")[0].find("tr")[1:]] == [
      "1.500", "0.500", "2.500"]
  rows = [[cell.text() for cell in row.children if not isinstance(cell, str)]
          for row in root.find("table", id="differences")[0].find("tr")[1:]]
  assert rows == [["train.seed", "1", "2", "–"]]


def test_one_run_has_no_differences(tmp_path):
  cli.call("plot", [make_run(tmp_path / "a", 1.5), "--output", str(tmp_path / "plot.html")])
  assert not read_page(tmp_path / "plot.html").find("table", id="differences")


def test_a_config_that_cannot_be_read_is_reported_and_the_rest_is_compared(tmp_path):
  workdirs = [make_run(tmp_path / name, 1.5) for name in "ab"]
  (tmp_path / "b" / "config.json").write_text('{"train": {"sead": 1}}')
  with pytest.warns(UserWarning, match="b/config.json: unknown config field 'train.sead'.*; it is "
                                       "not compared"):
    cli.call("plot", [*workdirs, "--output", str(tmp_path / "plot.html")])
  assert len(read_page(tmp_path / "plot.html").find("table", id="runs")[0].find("tr")) == 3


@pytest.mark.parametrize("count", [0, 9])
def test_as_many_runs_as_there_are_colours(tmp_path, count):
  with pytest.raises(UsageError, match=f"{count} runs given: a plot has 1 to 8"):
    cli.call("plot", [str(tmp_path / str(number)) for number in range(count)])
