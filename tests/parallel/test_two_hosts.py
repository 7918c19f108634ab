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
from mnc_jax.training import checkpoint

# Not AdamW, whose first steps are as large where the gradient is rounding only.
STEPS = ("--train.num-steps", "6", "--train.checkpoint-every", "2", "--train.log-every", "1",
         "--train.optimizer", "sgd", "--train.learning-rate", "0.01")


def start(script, *arguments, hosts: int, log):
  """Starts a command on hosts that share four devices; returns the processes."""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  environment = os.environ | {
      "JAX_PLATFORMS": "cpu",
      "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=4", f"device_count={4 // hosts}")}
  meet = lambda host: () if hosts == 1 else (
      "--coordinator", f"localhost:{port}", "--num-processes", str(hosts), "--process-id",
      str(host), "--dead-after", "10")
  with log.open("a") as file:
    return [subprocess.Popen(
        [sys.executable, "-m", "mnc_jax", script, *map(str, arguments), *meet(host)],
        stdout=file if host == 0 else subprocess.DEVNULL,
        stderr=subprocess.STDOUT, env=environment) for host in range(hosts)]


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
  """A folder with a config file, and a run of it on one host, evaluated."""
  folder = tmp_path_factory.mktemp("hosts")
  write_toy_set(folder)
  run(folder, "one", hosts=1)
  return folder


def run(folder, name, *, hosts):
  """Trains with validation at the end, and evaluates."""
  workdir, log = folder / name, folder / f"{name}.log"
  arguments = ("--config", folder / "config.py", "--workdir", workdir, *STEPS,
               "--train.evaluate-every", 6)
  trained = wait(start("train", *arguments, hosts=hosts, log=log), log)
  scored = wait(start("evaluate", "--workdir", workdir, hosts=hosts, log=log), log)
  assert trained + scored == [0] * 2 * hosts


def test_two_hosts_train_validate_resume_and_score_as_one(place):
  first = ("--config", place / "config.py", "--workdir", place / "two", *STEPS,
           "--train.num-steps", 3)
  assert wait(start("train", *first, hosts=2, log=place / "two.log"),
              place / "two.log") == [0, 0]
  run(place, "two", hosts=2)
  assert "Resuming from the checkpoint of step 3." in (place / "two.log").read_text()
  both = [checkpoint.load_params(place / name)[0] for name in ("one", "two")]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), *both)
  one, two = (json.loads((place / name / "evaluation.json").read_text()) for name in ("one", "two"))
  assert one["instances_found"] > 0
  assert one == two
  both = [read_metrics(place / name) for name in ("one", "two")]
  assert [sorted(line) for line in both[0]] == [sorted(line) for line in both[1]]
  assert {"validation/loss_5", "validation/mean_ap_r_50"} <= set(both[0][-1])
  for one, two in zip(*both, strict=True):
    for line in (one, two):
      line.pop("train/images_per_second", None)
    assert two == pytest.approx(one, rel=1e-3, abs=1e-5)


def test_sigterm_at_one_host_ends_both_after_the_same_step_and_both_resume(place):
  workdir, log = place / "ended", place / "ended.log"
  arguments = ("--config", place / "config.py", "--workdir", workdir, *STEPS,
               "--train.num-steps", 400)
  processes = start("train", *arguments, hosts=2, log=log)
  wait_for(workdir / "checkpoints" / "2", processes, log)
  processes[1].send_signal(signal.SIGTERM)
  assert wait(processes, log) == [0, 0]
  saved = int(log.read_text().split("Stopped by SIGTERM after step ")[1].split(",")[0])
  more = (*arguments, "--train.num-steps", saved + 2)
  assert wait(start("train", *more, hosts=2, log=log), log) == [0, 0]
  assert f"Resuming from the checkpoint of step {saved}" in log.read_text()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_host_that_dies_or_hangs_ends_the_other_with_a_message(place, how):
  workdir, log = place / f"lost_{how}", place / f"lost_{how}.log"
  processes = start("train", "--config", place / "config.py", "--workdir", workdir, *STEPS,
                    "--train.num-steps", 100_000, hosts=2, log=log)
  wait_for(workdir / "checkpoints" / "2", processes, log)
  processes[1].send_signal(how)
  started = time.monotonic()
  try:
    status = processes[0].wait(timeout=90)
  finally:
    processes[1].kill()
    processes[1].wait()
  assert status != 0
  assert time.monotonic() - started < 60
  # The first is ours, where a collective fails; the second is JAX's, of a heartbeat that stopped.
  assert re.search("another host died|another task died|heartbeat timeout", log.read_text())


def wait_for(path, processes, log):
  """Waits until the run has written something."""
  while not path.exists():
    assert all(process.poll() is None for process in processes), log.read_text()
    time.sleep(0.1)
