"""The paper's ablation on drawn shapes: ablation.py --runs DIR [--seeds 3] [--jobs 1].

Trains and scores each row of the paper's table 1 with each seed, the same number of steps, and
prints mean and spread. What is already in DIR is not run again.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
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

from mnc_jax.cli.options import end_with_message, load_config
from mnc_jax.data import load_source

_HERE = pathlib.Path(__file__).resolve().parent
_CONFIG = _HERE / "configs" / "shapes.py"
_THREE, _ALONE = ("--train.num-stages", "3"), ("--model.no-box-gradient",)
# Rows of table 1 (paper, section 4.1), simplest first.
ROWS = {
    "nothing shared": (*_THREE, *_ALONE, "--model.no-share-features"),
    "shared features": (*_THREE, *_ALONE),
    "end to end": _THREE,
    "trained with five stages": (),
}
SCORES = {"mean_ap_r_50": "mAP^r@.5", "mean_ap_r_70": "mAP^r@.7"}


def main(arguments) -> None:
  """Runs what is missing and prints the table."""
  options = read_options(arguments)
  config = load_config(_CONFIG)
  for split in ("train", "eval"):
    # Drawn once, before several runs want it at the same time.
    load_source(config.data, split)
  runs = list(itertools.product(range(options.seeds), ROWS))
  shares = queue.SimpleQueue()
  for job in range(options.jobs):
    shares.put(job)
  with ThreadPoolExecutor(options.jobs, initializer=take_cores,
                          initargs=(shares, options.jobs)) as workers:
    scores = list(workers.map(lambda run: score_run(*run, options), runs))
  print(format_table(dict(zip(runs, scores, strict=True)), options.steps))


def take_cores(shares: queue.SimpleQueue, jobs: int) -> None:
  """Binds this thread, and the programs it starts, to its share of the cores (Linux)."""
  if jobs > 1 and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[shares.get()::jobs] or cores)


def read_options(arguments) -> argparse.Namespace:
  """Reads the command line."""
  parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
  parser.add_argument("--runs", type=pathlib.Path, required=True, metavar="DIR")
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--steps", type=int, default=2000, help="of each run")
  parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
  return parser.parse_args(arguments)


def score_run(seed: int, row: str, options) -> dict:
  """Trains and scores one row with one seed, unless its scores are there; returns them."""
  workdir = options.runs / f"{row.replace(' ', '_')}_{seed}_of_{options.steps}_steps"
  result = workdir / "evaluation.json"
  if not result.is_file():
    started = time.perf_counter()
    run("train.py", workdir, "--config", str(_CONFIG), "--train.seed", str(seed),
        "--train.num-steps", str(options.steps), *ROWS[row])
    run("evaluate.py", workdir)
    print(f"{row}, seed {seed}: {(time.perf_counter() - started) / 60:.1f} minutes", flush=True)
  return json.loads(result.read_text())


def run(script: str, workdir: pathlib.Path, *arguments) -> None:
  """Runs one of the scripts on a workdir; its output goes to a file there.

  Raises:
    OSError: with the command and the file, if it fails.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  log = workdir / f"{script}.log"
  command = [sys.executable, str(_HERE / script), "--workdir", str(workdir), *arguments]
  with log.open("w") as output:
    finished = subprocess.run(command, stdout=output, stderr=output, check=False)
  if finished.returncode:
    raise OSError(f"status {finished.returncode} of {shlex.join(command)}: see {log}")


def format_table(scores: dict, steps: int) -> str:
  """Returns a Markdown table of mean and spread (smallest ... largest) over the seeds.

  Args:
    scores: by (seed, row), as evaluate.py writes them.
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
  end_with_message(main, sys.argv[1:])
