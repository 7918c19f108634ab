"""mnc train is killed, or gets SIGTERM, and resumes: no step is lost, and none differs.

The long form, with a hundred random moments, is `tests/soak/kills.py`.
"""

import signal

import pytest

from helpers.event_files import read_metrics
from helpers.interruptions import assert_same_run, command, finish_here, live
from helpers.toy_run import write_toy_set
from mnc_jax.training import checkpoint

# In three stages, which compile sooner.
OPTIONS = ("--train.num-steps", 12, "--train.checkpoint-every", 4, "--train.log-every", 3,
           "--train.num-stages", 3)
VALIDATES = ("--train.evaluate-every", 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A folder with a config file, and a run of it, in this process, that was not interrupted."""
  folder = tmp_path_factory.mktemp("interrupted")
  config = write_toy_set(folder)
  assert "Done: 12 steps" in finish_here(command(config, folder / "whole", *OPTIONS))
  return folder


def end_at(folder, name, how, moments):
  """Gives a run a signal at each of these moments, then lets it finish in this process."""
  workdir, arguments = folder / name, command(folder / "config.py", folder / name, *OPTIONS)
  endings = [live(arguments, workdir, how, moment=moment, delay=delay)
             for moment, delay in moments]
  last = finish_here(arguments)
  assert "Done: 12 steps" in last
  return workdir, endings, last


def test_killed_while_it_saves_it_resumes_bit_equal(folder):
  workdir, endings, _ = end_at(folder, "killed", signal.SIGKILL, [("write", 0.01), ("write", 0.3)])
  assert [ending.status for ending in endings] == [-signal.SIGKILL] * 2
  assert_same_run(workdir, folder / "whole")
  # Half-written checkpoints are removed.
  assert all(path.name.isdigit() for path in (workdir / "checkpoints").iterdir())


def test_on_sigterm_it_saves_at_once_and_resumes(folder):
  workdir, endings, last = end_at(folder, "ended", signal.SIGTERM, [("write", 0.1)])
  assert [ending.status for ending in endings] == [0]
  assert endings[0].seconds < 30
  text = (folder / "ended.log").read_text()
  saved = int(text.split("Stopped by SIGTERM after step ")[1].split(",")[0])
  assert saved >= 4
  assert f"Resuming from the checkpoint of step {saved}." in last
  assert_same_run(workdir, folder / "whole")


def test_an_interrupted_validation_is_repeated(folder):
  workdir, arguments = folder / "validated", command(
      folder / "config.py", folder / "validated", *OPTIONS, *VALIDATES)
  ended = live(arguments, workdir, signal.SIGTERM, moment="validation", delay=0)
  assert (ended.moment, ended.status) == ("validation", 0)
  assert ended.seconds < 5
  log = (folder / "validated.log").read_text()
  assert "Nothing is lost" in log
  assert "Step 6: mAP" not in log
  last = finish_here(arguments)
  assert "Done: 12 steps" in last
  assert "Resuming from the checkpoint of step 6." in last
  assert [last.count(f"Step {step}: mAP") for step in (6, 12)] == [1, 1]
  assert (workdir / "best" / "validated").read_text().startswith("12")
  assert [line["step"] for line in read_metrics(workdir) if "validation/loss" in line] == [6, 12]
  assert_same_run(workdir, folder / "whole")


def test_sigterm_before_the_first_step_ends_it_at_once(folder):
  workdir = folder / "early"
  # The first seconds are imports, in which Python dies of the signal as any program would.
  ending = live(command(folder / "config.py", workdir, *OPTIONS), workdir, signal.SIGTERM,
                moment="lock", delay=1)
  assert ending.status == 0
  assert ending.seconds < 5
  assert "Nothing is lost" in (folder / "early.log").read_text()
  with checkpoint.open_checkpoints(workdir) as manager:
    assert manager.latest_step() is None


def test_workers_that_load_batches_outlive_sigterm_but_not_the_run(folder):
  workdir, arguments = folder / "loaded", command(
      folder / "config.py", folder / "loaded", *OPTIONS, "--data.num-workers", 2)
  # As clusters do: to all processes of the run.
  ending = live(arguments, workdir, signal.SIGTERM, moment="write", delay=0, group=True)
  log = (folder / "loaded.log").read_text()
  assert ending.status == 0, log
  assert "Stopped by SIGTERM after step" in log
