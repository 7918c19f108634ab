"""A profile, and logs to other programs, change nothing else of a run."""

import json

import jax
import numpy as np
import pytest

from helpers import log_modules
from helpers.event_files import read_metrics
from helpers.tiny import tiny_config
from helpers.toy_run import write_toy_set
from mnc_jax import cli
from mnc_jax.config.validation import check_values
from mnc_jax.training import checkpoint
from mnc_jax.training.profiling import Profiler


def train(folder, name, *options):
  workdir = folder / name
  cli.call("train", ["--config", str(folder / "config.py"), "--workdir", str(workdir),
                     "--train.num-steps", "3", "--train.evaluate-every", "3",
                     "--train.num-stages", "3", *options])
  return workdir


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """A plain run, and one with a profile of steps 2 and 3 that logs to stand-ins for all."""
  folder = tmp_path_factory.mktemp("runs")
  write_toy_set(folder)
  with pytest.MonkeyPatch.context() as monkeypatch:
    modules = log_modules.install(monkeypatch)
    profiled = train(folder, "profiled", "--train.profile-steps", "2", "3",
                     "--train.log-to", "wandb", "clu")
  return train(folder, "plain"), profiled, modules


def test_the_profile_has_the_steps(runs):
  plain, profiled, _ = runs
  (trace,) = profiled.glob("profile/plugins/profile/*/*.xplane.pb")
  content = trace.read_bytes()
  assert b"step_num" in content
  assert b"train_step" in content or b"jit_" in content
  assert not (plain / "profile").exists()


def test_training_is_equal_bit_by_bit(runs):
  plain, profiled, _ = runs
  jax.tree.map(np.testing.assert_array_equal, checkpoint.load_run(plain)[0],
               checkpoint.load_run(profiled)[0])
  lines = [[{name: value for name, value in line.items() if "per_second" not in name}
            for line in read_metrics(workdir)] for workdir in (plain, profiled)]
  assert lines[0] == lines[1]
  assert len(lines[0]) == 4


def test_other_programs_get_every_line_of_the_log(runs):
  plain, profiled, (wandb, clu) = runs
  lines = read_metrics(profiled)
  logged = [entry for entry in wandb.logged if isinstance(entry, dict)]
  assert [entry for entry in logged if "validation/predictions" not in entry] == lines
  assert sum("validation/predictions" in entry for entry in logged) == 1
  (writer,) = clu.values()
  assert [{"step": step} | scalars for name, step, scalars in
          (call for call in writer.calls if call[0] == "write_scalars")] == lines
  assert writer.calls[-1] == ("close",)
  assert wandb.finished == 1
  assert wandb.runs[0]["config"]["train"]["log_to"] == ("wandb", "clu")
  assert not (profiled / "logs").exists()
  assert (plain / "logs").is_dir()
  assert json.loads((profiled / "config.json").read_text())["train"]["profile_steps"] == [2, 3]


@pytest.fixture
def calls(monkeypatch):
  """The calls of JAX's profiler, which does nothing."""
  found = []
  for name in ("start_trace", "stop_trace"):
    monkeypatch.setattr(jax.profiler, name,
                        lambda *folder, name=name: found.append(name))
  return found


@pytest.mark.parametrize(("steps", "ran", "expected"), [
    ((2, 3), range(1, 6), [(2, "start_trace"), (3, "stop_trace")]),
    ((1, 1), range(1, 4), [(1, "start_trace"), (1, "stop_trace")]),
    # Resumed in the middle; ended in the middle, as by SIGTERM; resumed behind.
    ((2, 4), range(3, 6), [(3, "start_trace"), (4, "stop_trace")]),
    ((2, 4), range(1, 4), [(2, "start_trace"), (None, "stop_trace")]),
    ((2, 4), range(5, 7), []), ((), range(1, 4), [])])
def test_the_steps_that_are_recorded(calls, tmp_path, steps, ran, expected):
  seen = []
  def note(step):
    seen.extend((step, name) for name in calls[len(seen):])
  with Profiler(tmp_path, steps) as profiler:
    for step in ran:
      profiler.before(step)
      note(step)
      with profiler.step(step):
        pass
      profiler.after(step, {})
      note(step)
  note(None)
  assert seen == expected


def test_a_profile_that_cannot_be_written_is_a_warning(calls, tmp_path, monkeypatch):
  def stop_trace():
    raise RuntimeError("no space left")
  monkeypatch.setattr(jax.profiler, "stop_trace", stop_trace)
  with Profiler(tmp_path, (1, 1)) as profiler:
    profiler.before(1)
    with pytest.warns(UserWarning, match="profile could not be written .*no space left.*continues"):
      profiler.after(1, {})
  assert calls == ["start_trace"]


def test_a_profile_that_cannot_be_started_is_one_warning(tmp_path):
  jax.profiler.start_trace(str(tmp_path / "other"))
  try:
    with Profiler(tmp_path, (1, 3)) as profiler:
      with pytest.warns(UserWarning, match="could not be started .*training continues"):
        profiler.before(1)
      for step in (1, 2, 3):  # Warnings are errors here.
        profiler.before(step)
        profiler.after(step, {})
  finally:
    jax.profiler.stop_trace()


def test_buckets_are_rejected():
  with pytest.raises(ValueError, match="profile cannot be written to gs://bucket/run: give a"):
    Profiler("gs://bucket/run", (1, 2))


@pytest.mark.parametrize(("steps", "message"), [
    ((3,), "must be two numbers"), ((0, 2), "counted from 1"), ((3, 2), "first and the last"),
    ((1, 2, 3), "must be two numbers"), ((5, 101), "the run ends with step 100")])
def test_steps_that_cannot_be_recorded(steps, message):
  with pytest.raises(ValueError, match=rf"train.profile_steps is .*{message}"):
    check_values(tiny_config(train={"profile_steps": steps}))
  check_values(tiny_config(train={"profile_steps": (5, 100)}))
