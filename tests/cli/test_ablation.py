"""The ablation runs each row with each seed once, and its table is right."""

import json

import pytest

from experiments import ablation
from mnc_jax.cli.options import override
from mnc_jax.config import Config


def test_rows_differ_from_the_demo_in_what_the_paper_varies():
  configs = {row: override(Config(), list(arguments), "test")
             for row, arguments in ablation.ROWS.items()}
  varied = {row: (config.model.share_features, config.model.box_gradient, config.train.num_stages)
            for row, config in configs.items()}
  assert varied == {
      "nothing shared": (False, False, 3), "shared features": (True, False, 3),
      "end to end": (True, True, 3), "trained with five stages": (True, True, 5)}


def fake_runs(monkeypatch):
  """Replaces training by files with made-up scores; returns the list of what ran."""
  ran = []

  def run(script, workdir, *arguments):
    ran.append((script, workdir.name, arguments[3:4]))
    if script == "evaluate.py":
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
  ablation.main(["--runs", str(tmp_path), "--seeds", "2", "--steps", "9", "--jobs", "2"])
  assert len({(script, name) for script, name, _ in ran}) == len(ran) == 2 * 4 * 2
  assert ("train.py", "end_to_end_1_of_9_steps", ("1",)) in ran
  table = capsys.readouterr().out.splitlines()[-6:]
  assert table[0] == "| 9 steps, 2 seeds | mAP^r@.5 | mAP^r@.7 |"
  assert table[5] == ("| trained with five stages | 0.550 (0.500 ... 0.600) "
                      "| 0.250 (0.250 ... 0.250) |")
  before = len(ran)
  ablation.main(["--runs", str(tmp_path), "--seeds", "2", "--steps", "9"])
  assert len(ran) == before


def test_a_run_that_fails_is_named_with_its_log(tmp_path):
  with pytest.raises(OSError, match=r"status \d+ of .*train.py --workdir .*: see .*train.py.log"):
    ablation.run("train", tmp_path / "bad", "--config", "no_such_file.py")
  assert "no such file" in (tmp_path / "bad" / "train.py.log").read_text()
