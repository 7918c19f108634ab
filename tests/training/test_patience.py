"""Training that ends when validations stop getting better."""

import json
import re
import shutil
import types

import numpy as np
import pytest

from helpers.tiny import tiny_config
from helpers.toy_run import write_toy_set
from mnc_jax import cli
from mnc_jax.training.loop import is_stale


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
  printed = capsys.readouterr().out
  validated = re.findall(r"at IoU .5 ([.0-9]+),.* best at .5 so far: ([.0-9]+)", printed)
  best = np.maximum.accumulate([float(score) for score, _ in validated])
  assert len(best) == 3 and [float(text) for _, text in validated] == best.tolist()
  assert ("Ends at step 3: no better state in the last 2 validations, the best is of step 1 "
          "(train.patience 2).") in printed
  assert "Done: 3 steps." in printed
  assert "SIGTERM" not in printed
  assert steps(folder, "patient") == 3
  train(folder, "patient", "--train.patience", "2")
  assert "Ends at step 3" in capsys.readouterr().out
  assert steps(folder, "patient") == 3
  # Two are behind it, whatever their distance was.
  train(folder, "patient", "--train.patience", "3", "--train.evaluate-every", "2")
  assert "Ends at step 4: no better state in the last 3 " in capsys.readouterr().out
  train(folder, "patient", "--train.patience", "0")
  assert "Ends at" not in capsys.readouterr().out
  assert steps(folder, "patient") == 5


def test_a_validation_that_is_repeated_is_not_compared_with_its_own_state(folder, capsys):
  train(folder, "repeated", "--train.patience", "1", "--train.num-steps", "1")
  # As of a run that was killed when the best state was saved, and this file not yet.
  (folder / "repeated" / "best" / "validated").unlink()
  train(folder, "repeated", "--train.patience", "1")
  printed = capsys.readouterr().out
  assert printed.count("Step 1: mAP^r") == 2
  assert "Ends at step 2: no better state in the last 1 validation, the best is of step " in printed


def test_validations_of_steps_that_were_lost_do_not_count(folder, capsys):
  train(folder, "lost", "--train.num-steps", "3")
  shutil.rmtree(folder / "lost" / "checkpoints" / "3")
  shutil.rmtree(folder / "lost" / "checkpoints" / "2")
  # The two without a better state were of steps 2 and 3.
  train(folder, "lost", "--train.patience", "2")
  printed = capsys.readouterr().out
  assert "Ends at step 3: no better state in the last 2 validations, the best is of " in printed
  assert steps(folder, "lost") == 3


@pytest.mark.parametrize(("best", "count", "error", "stale"), [
    (10, 2, None, True), (10, 1, None, False), (None, 2, None, False),
    # The better state may be the one that the disk had no space for.
    (10, 2, OSError("no space"), False)])
def test_what_counts_are_the_validations_since_the_best_state_that_is_saved(
    best, count, error, stale):
  validation = types.SimpleNamespace(
      best_step=lambda: best, count_since_best=lambda step: count,
      saver=types.SimpleNamespace(error=error))
  config = tiny_config(train={"patience": 2, "evaluate_every": 5})
  run = types.SimpleNamespace(config=config, validation=validation)
  assert is_stale(run, 20) is stale
