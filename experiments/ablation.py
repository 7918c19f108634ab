"""The paper's ablation on drawn shapes: ablation.py --runs DIR [--seeds 3] [--jobs 1].

Trains and scores each row of the paper's table 1 with each seed, the same number of steps, and
prints mean and spread. What is already in DIR is not run again.
"""

from concurrent.futures import ThreadPoolExecutor
import dataclasses
import itertools
import json
import os
import pathlib
import queue
import shlex
import statistics
import subprocess
import sys
import time

import tyro

from mnc_jax import configs
from mnc_jax.cli.errors import end_with_message
from mnc_jax.data import load_source

_CONFIG = "shapes"
# Of the table in experiments/README.md; the config's own rate is for fewer steps.
_RATE = "0.001"
_THREE = ("--train.num-stages", "3")
_ALONE = ("--model.no-box-gradient", "--model.box-gradient-clip", "0")
# Rows of table 1 (paper, section 4.1), simplest first.
ROWS = {
    "nothing shared": (*_THREE, *_ALONE, "--model.no-share-features"),
    "shared features": (*_THREE, *_ALONE),
    "end to end": _THREE,
    "trained with five stages": (),
}
SCORES = {"mean_ap_r_50": "mAP^r@.5", "mean_ap_r_70": "mAP^r@.7"}


@dataclasses.dataclass(frozen=True)
class Options:
  """The paper's ablation on drawn shapes. Runs whose scores exist are not repeated."""

  runs: pathlib.Path
  """Folder of all runs."""
  seeds: int = 3
  """Number of seeds per row."""
  steps: int = 2000
  """Steps per run."""
  jobs: int = 1
  """Number of runs at a time; they share the cores."""


def main(options: Options) -> None:
  """Runs what is missing and prints the table."""
  for split in ("train", "eval"):
    # Drawn once, before several runs need it at the same time.
    load_source(configs.get(_CONFIG).data, split)
  runs = list(itertools.product(range(options.seeds), ROWS))
  shares = queue.SimpleQueue()
  for job in range(options.jobs):
    shares.put(job)
  with ThreadPoolExecutor(options.jobs, initializer=take_cores,
                          initargs=(shares, options.jobs)) as workers:
    scores = list(workers.map(lambda run: score_run(run[0], run[1], options), runs))
  print(format_table(dict(zip(runs, scores, strict=True)), options.steps))


def take_cores(shares: queue.SimpleQueue, jobs: int) -> None:
  """Binds this thread, and the programs it starts, to its share of the cores (Linux)."""
  if jobs > 1 and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[shares.get()::jobs] or cores)


def score_run(seed: int, row: str, options: Options) -> dict:
  """Trains and scores one row with one seed, unless its scores exist; returns them."""
  workdir = options.runs / f"{row.replace(' ', '_')}_{seed}_of_{options.steps}_steps"
  result = workdir / "evaluation.json"
  if not result.is_file():
    started = time.perf_counter()
    run("train", workdir, "--config", _CONFIG, "--train.seed", str(seed),
        "--train.num-steps", str(options.steps), "--train.learning-rate", _RATE, *ROWS[row])
    run("evaluate", workdir)
    print(f"{row}, seed {seed}: {(time.perf_counter() - started) / 60:.1f} minutes", flush=True)
  return json.loads(result.read_text())


def run(command: str, workdir: pathlib.Path, *arguments: str) -> None:
  """Runs a command of mnc on a workdir; its output goes to a file there.

  Raises:
    OSError: with the command and the file, if it fails.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  log = workdir / f"{command}.log"
  words = [command, "--workdir", str(workdir), *arguments]
  with log.open("w") as output:
    finished = subprocess.run(
        [sys.executable, "-m", "mnc_jax", *words], stdout=output, stderr=output, check=False)
  if finished.returncode:
    raise OSError(f"status {finished.returncode} of {shlex.join(['mnc', *words])}: see {log}")


def format_table(scores: dict, steps: int) -> str:
  """Returns a Markdown table of mean and spread (smallest ... largest) over the seeds.

  Args:
    scores: by (seed, row), as mnc evaluate writes them.
    steps: of each run.
  """
  seeds = sorted({seed for seed, _ in scores})
  lines = [f"| {steps} steps, {len(seeds)} seeds | " + " | ".join(SCORES.values()) + " |",
           "|---" * (1 + len(SCORES)) + "|"]
  for row in ROWS:
    cells = [[scores[seed, row][name] for seed in seeds] for name in SCORES]
    lines.append(f"| {row} | " + " | ".join(
        f"{statistics.mean(values):.3f} ({min(values):.3f} ... {max(values):.3f})"
        for values in cells) + " |")
  return "\n".join(lines)


if __name__ == "__main__":
  end_with_message(main, tyro.cli(Options), program="ablation.py")
