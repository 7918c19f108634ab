"""mnc train and mnc evaluate on two hosts of two devices: the numbers of one host of four."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from helpers.event_files import read_metrics
from helpers.toy_run import write_toy_set
from helpers.two_processes import SHARE_PROGRAMS
from mnc_jax import cli
from mnc_jax.training import checkpoint

# Not AdamW, whose first steps are as large where the gradient is rounding only.
STEPS = ("--train.num-steps", "6", "--train.checkpoint-every", "2", "--train.log-every", "1",
         "--train.optimizer", "sgd", "--train.learning-rate", "0.01")


# Runs commands one after the other; the first of them joins the hosts.
PROGRAM = SHARE_PROGRAMS + """
import json, sys
from mnc_jax import cli
for name, *arguments in json.loads(sys.argv[1]):
  cli.run(name, arguments=arguments)
"""


def start(*commands, log):
  """Starts commands on two hosts of two devices each; returns the processes."""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  environment = os.environ | {
      "JAX_PLATFORMS": "cpu",
      "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=4", "device_count=2")}
  first, *others = ([str(part) for part in command] for command in commands)
  meet = lambda host: ["--coordinator", f"localhost:{port}", "--num-processes", "2",
                       "--process-id", str(host), "--dead-after", "10"]
  with log.open("a") as file:
    return [subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps([first + meet(host), *others])],
        stdout=file if host == 0 else subprocess.DEVNULL,
        stderr=subprocess.STDOUT, env=environment) for host in range(2)]


def wait(processes, log):
  """Waits for all; returns how they ended."""
  try:
    return [process.wait(timeout=600) for process in processes]
  finally:
    for process in processes:
      process.kill()
    print(log.read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A folder with a config file, and a run of it on one host, this one, evaluated."""
  folder = tmp_path_factory.mktemp("hosts")
  write_toy_set(folder)
  cli.call("train", [str(x) for x in whole_run(folder, "one")])
  cli.call("evaluate", [str(x) for x in evaluation(folder, "one")])
  return folder


def whole_run(folder, name):
  """Returns the arguments of a training with validation at the end."""
  return ("--config", folder / "config.py", "--workdir", folder / name, *STEPS,
          "--train.evaluate-every", 6)


def evaluation(folder, name):
  """Returns the arguments of an evaluation that keeps its results."""
  return "--workdir", folder / name, "--results", folder / f"{name}.json"


def test_two_hosts_train_validate_resume_and_score_as_one(place):
  first = ("--config", place / "config.py", "--workdir", place / "two", *STEPS,
           "--train.num-steps", 3)
  processes = start(("train", *first), ("train", *whole_run(place, "two")),
                    ("evaluate", *evaluation(place, "two")), log=place / "two.log")
  assert wait(processes, place / "two.log") == [0, 0]
  resumed = "Resuming from the checkpoint of step 3, with another config than it was saved with"
  assert resumed in (place / "two.log").read_text()
  both = [checkpoint.load_run(place / name)[0] for name in ("one", "two")]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), *both)
  one, two = (json.loads((place / f"{name}.json").read_text()) for name in ("one", "two"))
  assert one
  for field in ("image_id", "category_id"):
    assert [record[field] for record in two] == [record[field] for record in one]
  for field in ("bbox", "score"):
    np.testing.assert_allclose([record[field] for record in two],
                               [record[field] for record in one], rtol=1e-4, atol=0.02)
  # One host scores the parameters of two, not its own: an IoU may be just at a threshold.
  cli.call("evaluate", ["--workdir", str(place / "two"), "--output", str(place / "again")])
  again, two = (json.loads((place / name / "evaluation.json").read_text())
                for name in ("again", "two"))
  assert two["instances_found"] > 0
  assert again == two
  both = [read_metrics(place / name) for name in ("one", "two")]
  assert [sorted(line) for line in both[0]] == [sorted(line) for line in both[1]]
  assert {"validation/loss_5", "validation/mean_ap_r_50"} <= set(both[0][-1])
  for one, two in zip(*both, strict=True):
    for line in (one, two):
      line.pop("train/images_per_second", None)
    assert two == pytest.approx(one, rel=1e-3, abs=1e-5)


def test_sigterm_at_one_host_ends_both_after_the_same_step_and_both_resume(place):
  workdir, log = place / "ended", place / "ended.log"
  processes = start_long_run(place, "ended")
  wait_for(workdir / "checkpoints" / "2", processes, log)
  processes[1].send_signal(signal.SIGTERM)
  assert wait(processes, log) == [0, 0]
  saved = int(log.read_text().split("Stopped by SIGTERM after step ")[1].split(",")[0])
  # They resume, and save, until one of them dies.
  lose_one_host(place, "ended", signal.SIGKILL, after=saved + 2 - saved % 2)
  assert f"Resuming from the checkpoint of step {saved}" in log.read_text()


def test_a_host_that_hangs_ends_the_other_with_a_message(place):
  lose_one_host(place, "hangs", signal.SIGSTOP, after=2)


def start_long_run(place, name):
  """Starts a run that would take hours, in three stages, which compile sooner."""
  return start(("train", "--config", place / "config.py", "--workdir", place / name, *STEPS,
                "--train.num-steps", 100_000, "--train.num-stages", 3), log=place / f"{name}.log")


def lose_one_host(place, name, how, *, after):
  """Gives one of two hosts a signal once the step `after` is saved; the other must end soon."""
  workdir, log = place / name, place / f"{name}.log"
  before = log.stat().st_size if log.exists() else 0
  processes = start_long_run(place, name)
  wait_for(workdir / "checkpoints" / str(after), processes, log)
  processes[1].send_signal(how)
  started = time.monotonic()
  try:
    status = processes[0].wait(timeout=90)
  finally:
    for process in processes:
      process.kill()
      process.wait()
  assert status != 0
  assert time.monotonic() - started < 60
  # The first is ours, where a collective fails; the second is JAX's, of a heartbeat that stopped.
  assert re.search("another host died|another task died|heartbeat timeout",
                   log.read_text()[before:])


def wait_for(path, processes, log):
  """Waits until the run has written something."""
  while not path.exists():
    assert all(process.poll() is None for process in processes), log.read_text()
    time.sleep(0.1)
