"""mnc plot: compares the losses and scores of runs on a page."""

from collections.abc import Sequence
import operator
import pathlib
import warnings

from mnc_jax.cli.commands import Plot
from mnc_jax.cli.parse import UsageError
from mnc_jax.coco.faults import count_noun
from mnc_jax.config import Config
from mnc_jax.config.serialization import differing_fields
from mnc_jax.evaluation.charts.run_page import MOST_RUNS, make_run_page
from mnc_jax.evaluation.charts.runs import read_run
from mnc_jax.training.run_folder import read_config


def run(options: Plot) -> None:
  """Reads the logs of the runs and writes the page."""
  workdirs = list(dict.fromkeys(options.runs))
  if not 1 <= len(workdirs) <= MOST_RUNS:
    raise UsageError(f"{count_noun(len(workdirs), 'run')} given: a plot has 1 to {MOST_RUNS}")
  runs = [read_run(workdir) for workdir in workdirs]
  page = make_run_page(runs, differences=compare_configs(workdirs))
  options.output.parent.mkdir(parents=True, exist_ok=True)
  options.output.write_text(page, encoding="utf-8")
  print(f"Written to {options.output}: {count_noun(len(runs), 'run')}, "
        f"{max(len(series.steps) for one in runs for series in one.series.values())} steps")


def compare_configs(workdirs: Sequence[pathlib.Path]) -> list[tuple[str, list[str]]]:
  """Returns (field, its value in each run) where they differ; "–" for a run without a config."""
  configs = [_try_config(workdir) for workdir in workdirs]
  known = [config for config in configs if config]
  fields = {name for config in known[1:] for name, *_ in differing_fields(known[0], config)}
  return [(name, ["–" if config is None else str(operator.attrgetter(name)(config))
                  for config in configs]) for name in sorted(fields)]


def _try_config(workdir) -> Config | None:
  """Returns the config of a run, or None, with a warning unless it has not saved one yet."""
  try:
    return read_config(workdir)
  except FileNotFoundError:
    return None
  except ValueError as error:
    warnings.warn(f"{error}; it is not compared", stacklevel=2)
    return None
