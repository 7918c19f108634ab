"""Kills training runs at random moments: kills.py --kills 100 [--seed 0] [--signal kill].

`make soak` starts it, with tests/ on the import path.

Every run is resumed by the same command until it is finished, then compared, bit by bit, with one
that was not interrupted. Prints a summary.
"""

import argparse
import collections
import pathlib
import signal
import tempfile
import time

import numpy as np

from helpers.interruptions import assert_same_run, command, live
from helpers.toy_run import write_toy_set

SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM}
OPTIONS = ("--train.num-steps", "60", "--train.checkpoint-every", "3", "--train.log-every", "2")


def main() -> None:
  """Runs until `--kills` signals were survived; ends with status 1 at the first difference."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--kills", type=int, default=100)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--signal", choices=SIGNALS, default="kill")
  options = parser.parse_args()
  started, rng = time.monotonic(), np.random.default_rng(options.seed)
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    config, whole = write_toy_set(folder), folder / "whole"
    first = time.monotonic()
    finish(config, whole)
    longest = time.monotonic() - first
    endings, again, runs = [], 0, 0
    while len(endings) < options.kills:
      workdir = folder / f"run_{runs}"
      endings += list(end_until_finished(config, workdir, SIGNALS[options.signal], rng, longest))
      again, runs = again + assert_same_run(workdir, whole), runs + 1
      print(f"{len(endings)} signals, {runs} runs, all bit-equal", flush=True)
  print(describe(endings, runs, again, time.monotonic() - started))


def finish(config, workdir) -> None:
  """Runs without interruption."""
  ending = live(command(config, workdir, *OPTIONS), workdir, 0, moment="start", delay=3600)
  assert ending.status == 0, f"see {workdir}.log"


def end_until_finished(config, workdir, how, rng, longest):
  """Yields how each interrupted process of a run ended, until one finishes."""
  # In its imports, before the claim, Python dies of SIGTERM as any program would.
  early = "start" if how == signal.SIGKILL else "lock"
  while True:
    moment = (early, "write")[rng.integers(2)]
    delay = rng.uniform(0, longest if moment == early else 0.3)
    ending = live(command(config, workdir, *OPTIONS), workdir, how, moment=moment, delay=delay)
    if ending.moment == "finished":
      assert ending.status == 0, f"see {workdir}.log"
      return
    assert ending.status == (0 if how == signal.SIGTERM else -how), ending
    yield ending


def describe(endings, runs: int, again: int, seconds: float) -> str:
  """Returns the summary."""
  moments = collections.Counter(ending.moment for ending in endings)
  slowest = max(ending.seconds for ending in endings)
  return (f"{len(endings)} signals in {runs} runs ({moments['write']} while a checkpoint was being "
          f"written), {again} steps were repeated with the same numbers; every run ended bit-equal "
          f"to the uninterrupted one. Longest from signal to end: {slowest:.1f} s. "
          f"{seconds / 60:.0f} minutes.")


if __name__ == "__main__":
  main()
