"""Ends a training run by a signal at some moment, and compares it with an uninterrupted one."""

import contextlib
import io
import os
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from helpers.event_files import read_metrics, read_scalars
from mnc_jax import cli
from mnc_jax.training import checkpoint
from mnc_jax.training.run_folder import describe_owner


class Ending(NamedTuple):
  """How one process of a run ended.

  Attributes:
    moment: at which it got the signal, or "finished".
    status: of the process.
    seconds: from the signal to the end.
  """
  moment: str
  status: int
  seconds: float


def command(config: pathlib.Path, workdir: pathlib.Path, *more) -> list[str]:
  """Returns the command that starts or resumes the run."""
  return [sys.executable, "-m", "mnc_jax", "train", "--config", str(config),
          "--workdir", str(workdir), *map(str, more)]


def finish_here(arguments) -> str:
  """Runs the program of `command` in this process, to its end; returns what it printed."""
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
    cli.call("train", arguments[arguments.index("train") + 1:])
  return printed.getvalue()


def live(arguments, workdir: pathlib.Path, how, *, moment: str, delay: float,
         group: bool = False) -> Ending:
  """Runs the program until it ends, or `delay` seconds after the moment, when it gets a signal.

  Args:
    arguments: of `command`.
    workdir: of the run.
    how: the signal.
    moment: "start"; "lock": it has claimed its folder; "write": it has begun to save;
      "validation": it has begun to predict.
    delay: seconds.
    group: whether all its processes get the signal; then they must all end within seconds.
  """
  path = workdir.parent / f"{workdir.name}.log"
  with path.open("a") as log:
    begin = log.tell()
    process = subprocess.Popen(arguments, stdout=log, stderr=log, start_new_session=group)
    signs = {
        "start": lambda: True,
        "lock": lambda: describe_owner(workdir).startswith(f"process {process.pid} "),
        "write": lambda: list(workdir.glob("checkpoints/*.orbax-checkpoint-tmp")),
        "validation": lambda: b"predicting" in path.read_bytes()[begin:]}
    while process.poll() is None and not signs[moment]():
      time.sleep(0.002)
    try:
      return Ending("finished", process.wait(timeout=delay), 0.0)
    except subprocess.TimeoutExpired:
      started = time.monotonic()
      (os.killpg if group else os.kill)(process.pid, how)
      status = process.wait(timeout=120)
      if group:
        wait_for_end(process.pid)
      return Ending(moment, status, time.monotonic() - started)


def wait_for_end(group: int, *, seconds: float = 20) -> None:
  """Raises AssertionError if a process group still has processes after so many seconds."""
  deadline = time.monotonic() + seconds
  with contextlib.suppress(ProcessLookupError):
    while True:
      os.killpg(group, 0)
      assert time.monotonic() < deadline, "processes are left behind"
      time.sleep(0.1)


def assert_same_run(workdir: pathlib.Path, whole: pathlib.Path) -> int:
  """Compares a run with one that was not interrupted, bit by bit; returns the steps run twice.

  Raises:
    AssertionError: if the last parameters or optimiser states differ, or the log of a step.
  """
  jax.tree.map(np.testing.assert_array_equal, last_state(workdir), last_state(whole))
  assert logged_steps(workdir) == logged_steps(whole)
  # TensorBoard's files keep the lines of lost steps.
  again = 0
  for name, steps in read_scalars(workdir / "logs").items():
    if name.startswith("train/") and name != "train/images_per_second":
      assert all(len(set(values)) == 1 for values in steps.values()), name
      again = max(again, sum(len(values) - 1 for values in steps.values()))
  return again


def logged_steps(workdir) -> list[dict]:
  """Returns what was logged of each step, but for the speed."""
  return [{name: value for name, value in line.items() if name != "train/images_per_second"}
          for line in read_metrics(workdir) if "train/loss" in line]


def last_state(workdir):
  """Returns step and arrays of the last checkpoint."""
  with checkpoint.open_checkpoints(workdir) as manager:
    step = manager.latest_step()
    saved = manager.restore(step, args=ocp.args.Composite(
        params=ocp.args.StandardRestore(), optimizer=ocp.args.StandardRestore()))
    return step, saved["params"], saved["optimizer"]
