"""Reads what runs have logged, `metrics.jsonl` in their workdirs."""

from collections.abc import Mapping
import json
import math
import pathlib
from typing import NamedTuple
import warnings

import numpy as np

from mnc_jax.coco.faults import count_noun, list_first
from mnc_jax.config.paths import as_path


class Series(NamedTuple):
  """A number by step.

  Attributes:
    steps: [N] int64, rising.
    values: [N] float64; NaN where the log has null, a value that was not finite.
  """
  steps: np.ndarray
  values: np.ndarray

  def thin(self, most: int) -> "Series":
    """Returns at most `most` points: the means of as many neighbours each, without NaN."""
    finite = np.isfinite(self.values)
    steps, values = self.steps[finite], self.values[finite]
    size = max(1, math.ceil(len(steps) / most))
    starts = np.arange(0, len(steps), size)
    if not len(starts):
      return Series(steps, values)
    counts = np.diff(starts, append=len(steps))
    return Series(*(np.add.reduceat(part, starts) / counts for part in (steps, values)))


class RunLog(NamedTuple):
  """What a run has logged.

  Attributes:
    name: of the run.
    series: {name, such as "train/loss": Series}.
  """
  name: str
  series: Mapping[str, Series]


def read_run(workdir: str | pathlib.Path) -> RunLog:
  """Reads the log of a run, which may still be training.

  A line that is no record of a step, such as one that is cut off, is left out with a warning.

  Args:
    workdir: of the run.

  Raises:
    FileNotFoundError: if there is no log.
    ValueError: if it has no step.
  """
  path = as_path(workdir) / "metrics.jsonl"
  if not path.is_file():
    best = as_path(workdir).parent / "metrics.jsonl"
    hint = f" (did you mean {best.parent}?)" if best.is_file() else ""
    raise FileNotFoundError(f"{path}: no such file. Give the --workdir of a run of mnc train that "
                            f"has logged its first steps{hint}")
  points, bad = {}, []
  for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
    record = _read_line(line)
    if record is None:
      bad.append(number)
      continue
    step = record.pop("step")
    for name, value in record.items():
      points.setdefault(name, {})[step] = math.nan if value is None else float(value)
  if bad:
    warnings.warn(f"{path}: {count_noun(len(bad), 'line')} left out, no record of a step: number "
                  f"{list_first(bad)}", stacklevel=2)
  if not points:
    raise ValueError(f"{path} has no steps")
  return RunLog(str(workdir), {name: _make_series(values) for name, values in points.items()})


def _read_line(line):
  """Returns {"step": int, name: number or None}, or None if the line is something else."""
  try:
    record = json.loads(line)
  except (ValueError, RecursionError):
    return None
  if not isinstance(record, dict) or type(record.get("step")) is not int:
    return None
  numbers = all(value is None or isinstance(value, (int, float)) for value in record.values())
  return record if numbers else None


def _make_series(values):
  steps = np.array(sorted(values), np.int64)
  return Series(steps, np.array([values[step] for step in steps.tolist()], np.float64))
