"""Training that ends when validations stop getting better."""

import json

import pytest

from helpers.toy_run import write_toy_set
from mnc_jax import cli


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("patience")
  write_toy_set(folder)
  return folder


def train(folder, name, *options):
  """Trains up to five steps without learning anything, so that the first validation is the best."""
  cli.call("train", [
      "--config", str(folder / "config.py"), "--workdir", str(folder / name),
      "--train.num-steps", "5", "--train.evaluate-every", "1", "--train.learning-rate", "0",
      "--train.weight-decay", "0", *options])


def steps(folder, name):
  lines = (folder / name / "metrics.jsonl").read_text().splitlines()
  return max(json.loads(line)["step"] for line in lines)


def test_training_ends_after_so_many_validations_and_stays_ended(folder, capsys):
  train(folder, "patient", "--train.patience", "2")
  assert "Ends at step 3: no validation after step 1 was better (train.patience 2)." in (
      capsys.readouterr().out)
  assert steps(folder, "patient") == 3
  train(folder, "patient", "--train.patience", "2")
  assert "Ends at step 3" in capsys.readouterr().out
  assert steps(folder, "patient") == 3
  train(folder, "patient", "--train.patience", "0")
  assert "Ends at" not in capsys.readouterr().out
  assert steps(folder, "patient") == 5
