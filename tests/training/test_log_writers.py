"""Logs to other programs: what they get, and what happens if they are missing or fail."""

import dataclasses
import sys

import numpy as np
import pytest

from helpers import log_modules
from helpers.event_files import read_metrics
from helpers.tiny import tiny_config
from mnc_jax.training.log_writers import check_installed, open_writers
from mnc_jax.training.loop import open_log
from mnc_jax.training.metrics_log import MetricsLog

CONFIG = tiny_config(train={"log_to": ("wandb", "tensorboard", "clu")})


@pytest.fixture
def modules(monkeypatch):
  return log_modules.install(monkeypatch)


def test_both_get_numbers_and_pictures(modules, tmp_path):
  wandb, clu = modules
  workdir = tmp_path / "run"
  with MetricsLog(workdir, first_step=1, writers=open_writers(workdir, CONFIG)) as log:
    log.add_scalars({"train/loss": np.float32(0.5)}, 3)
    log.add_image("picture", np.zeros((4, 6, 3), np.uint8), 3)
    log.flush()
  (run,) = wandb.runs
  assert (run["project"], run["name"], run["dir"], run["resume"]) == (
      "mnc_jax", "run", str(workdir), "allow")
  assert run["config"] == dataclasses.asdict(CONFIG)
  # Every number has our step on its axis: wandb's own must not go back.
  assert wandb.logged == [(("step",), {}), (("*",), {"step_metric": "step"}),
                          {"step": 3, "train/loss": 0.5}, {"step": 3, "picture": [
                              ("image", (4, 6, 3))]}]
  assert wandb.finished == 1
  (writer,) = clu.values()
  assert list(clu) == [str(workdir / "clu")]
  assert writer.calls[0] == ("write_scalars", 3, {"train/loss": 0.5})
  assert writer.calls[1][:2] == ("write_images", 3)
  assert writer.calls[1][2]["picture"].shape == (1, 4, 6, 3)
  assert [name for name, *_ in writer.calls[2:]] == ["flush", "flush", "close"]
  assert read_metrics(workdir) == [{"step": 3, "train/loss": 0.5}]


def test_a_run_that_is_resumed_continues_in_wandb(modules, tmp_path, monkeypatch):
  wandb, _ = modules
  open_writers(tmp_path, CONFIG)
  monkeypatch.setenv("WANDB_PROJECT", "shapes")
  monkeypatch.setenv("WANDB_NAME", "mine")
  open_writers(tmp_path, CONFIG)
  open_writers(tmp_path / "other", CONFIG)
  first, again, other = (run["id"] for run in wandb.runs)
  assert first == again != other
  assert (tmp_path / "wandb_id").read_text() == first
  assert [run["project"] for run in wandb.runs] == ["mnc_jax", "shapes", "shapes"]
  assert wandb.runs[1]["name"] == "mine"


def test_only_what_is_named_is_opened(modules, tmp_path):
  wandb, clu = modules
  assert open_writers(tmp_path, tiny_config()) == {}
  assert not wandb.runs and not clu
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["wandb", "clu"])
def test_a_missing_package_is_named_with_its_extra(name, monkeypatch):
  monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(ValueError, match=rf"train.log_to has {name}, which cannot be imported .*: "
                                       rf"pip install 'mnc_jax\[{name}\]', or omit it"):
    check_installed(("tensorboard", name))
  check_installed(("tensorboard",))


def test_a_writer_that_cannot_be_opened_is_an_error_for_people(modules, tmp_path, monkeypatch):
  wandb, _ = modules
  def init(**options):
    raise RuntimeError("No API key configured")
  monkeypatch.setattr(wandb, "init", init)
  with pytest.raises(OSError, match=r"train.log_to has wandb, which cannot be opened "
                                    r".RuntimeError: No API key configured.: correct that"):
    open_log(tmp_path, CONFIG, 0)


@pytest.mark.parametrize("method", ["write_scalars", "write_images", "flush", "close"])
def test_a_writer_that_fails_is_dropped_with_a_warning(method, tmp_path):
  writers = {"bad": log_modules.Recorder(broken=[method]), "good": log_modules.Recorder()}
  def write():
    with MetricsLog(tmp_path, first_step=1, writers=writers) as log:
      for step in (1, 2):
        log.add_scalars({"a": step}, step)
        log.add_image("b", np.zeros((2, 2, 3), np.uint8), step)
        log.flush()
  with pytest.warns(UserWarning, match="logging to bad failed, and ends .ConnectionError: no "
                                       "network.; training continues") as warned:
    write()
  assert len(warned) == 1
  names = ["write_scalars", "write_images", "flush"]
  assert [name for name, *_ in writers["good"].calls] == [*names, *names, "flush", "close"]
  assert read_metrics(tmp_path) == [{"step": 1, "a": 1}, {"step": 2, "a": 2}]


def test_without_tensorboard_its_files_are_not_written(tmp_path):
  with MetricsLog(tmp_path, first_step=1, tensorboard=False) as log:
    log.add_scalars({"a": 1}, 1)
  assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
