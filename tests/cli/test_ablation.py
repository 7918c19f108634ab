"""The ablation runs each row with each seed once, and its table is right."""

import json

import pytest

from experiments import ablation
from mnc_jax.cli.commands import Train
from mnc_jax.cli.parse import parse
from mnc_jax.config.validation import check_effects


def test_rows_differ_from_the_demo_in_what_the_paper_varies():
  line = ("--config", "shapes", "--workdir", "w")
  configs = {row: parse(Train, "train", [*line, *options]).experiment
             for row, options in ablation.ROWS.items()}
  for config in configs.values():
    check_effects(config)  # What `mnc train` rejects ends the ablation.
  varied = {row: (config.model.share_features, config.model.box_gradient, config.train.num_stages)
            for row, config in configs.items()}
  assert varied == {
      "nothing shared": (False, False, 3), "shared features": (True, False, 3),
      "end to end": (True, True, 3), "trained with five stages": (True, True, 5)}


def fake_runs(monkeypatch):
  """Replaces training by files with made-up scores; returns the list of what ran."""
  ran = []

  def run(command, workdir, *arguments):
    ran.append((command, workdir.name, arguments[3:4]))
    if command == "evaluate":
      seed = int(workdir.name.split("_of_")[0][-1])
      workdir.mkdir(parents=True, exist_ok=True)
      (workdir / "evaluation.json").write_text(
          json.dumps({"mean_ap_r_50": 0.5 + 0.1 * seed, "mean_ap_r_70": 0.25}))

  monkeypatch.setattr(ablation, "run", run)
  monkeypatch.setattr(ablation, "load_source", lambda data, split: None)
  return ran


def test_each_row_runs_once_with_each_seed_and_the_table_has_mean_and_spread(
    tmp_path, monkeypatch, capsys):
  ran = fake_runs(monkeypatch)
  ablation.main(ablation.Options(tmp_path, seeds=2, steps=9, jobs=2))
  assert len({(command, name) for command, name, _ in ran}) == len(ran) == 2 * 4 * 2
  assert ("train", "end_to_end_1_of_9_steps", ("1",)) in ran
  table = capsys.readouterr().out.splitlines()[-6:]
  assert table[0] == "| 9 steps, 2 seeds | mAP^r@.5 | mAP^r@.7 |"
  assert table[5] == ("| trained with five stages | 0.550 (0.500 ... 0.600) "
                      "| 0.250 (0.250 ... 0.250) |")
  before = len(ran)
  ablation.main(ablation.Options(tmp_path, seeds=2, steps=9))
  assert len(ran) == before


def test_a_run_that_fails_is_named_with_its_log(tmp_path):
  with pytest.raises(OSError, match=r"status 2 of mnc train --workdir .*: see .*train.log"):
    ablation.run("train", tmp_path / "bad", "--config", "no_such_file.py")
  assert "no such file" in (tmp_path / "bad" / "train.log").read_text()
