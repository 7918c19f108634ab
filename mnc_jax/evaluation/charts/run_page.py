"""A page that compares the losses and scores of runs: a chart per number, a line per run."""

from collections.abc import Sequence
import pathlib
from typing import NamedTuple

import jinja2
import numpy as np

from mnc_jax.evaluation.charts.runs import RunLog
from mnc_jax.evaluation.charts.svg import (
  COLORS,
  Axis,
  add,
  as_markup,
  draw_axes,
  draw_line,
  new_chart,
  round_ticks,
)

MOST_RUNS = len(COLORS)
_TEMPLATES = pathlib.Path(__file__).with_name("templates")
_POINTS = 100  # Of a line of training: means of neighbours, which single steps scatter around.
# Values of training above so many times their ninth decile are drawn at the edge: first losses.
_LARGEST = 3.0
_SCORES = ("mean_ap_r_50", "mean_ap_r_70")
_TITLES = {"mean_ap_r_50": "mAP^r at IoU .5", "mean_ap_r_70": "mAP^r at IoU .7",
           "loss": "loss, all stages", "loss_1": "loss of stage 1, boxes",
           "loss_2": "loss of stage 2, masks", "loss_3": "loss of stage 3, categories",
           "loss_4": "loss of stage 4, masks", "loss_5": "loss of stage 5, categories"}


class RunRow(NamedTuple):
  """A run in the table.

  Attributes:
    name: of the run.
    color: of its lines.
    steps: the last step.
    loss: mean over the last tenth of the training steps; None without one.
    best: (score, step) for each of mAP^r at .5 and .7, the best validation; None without one.
    not_finite: number of values that were not finite.
  """
  name: str
  color: str
  steps: int
  loss: float | None
  best: tuple
  not_finite: int


def make_run_page(runs: Sequence[RunLog], *, differences: Sequence[tuple] = ()) -> str:
  """Returns the HTML of a page.

  Args:
    runs: one to `MOST_RUNS`, in the order of colours.
    differences: (config field, value per run) of what the runs were trained with.
  """
  names = list(dict.fromkeys(name.partition("/")[2] for run in runs for name in run.series))
  first = [name for name in _TITLES if name in names]
  environment = jinja2.Environment(
      loader=jinja2.FileSystemLoader(_TEMPLATES), undefined=jinja2.StrictUndefined,
      autoescape=True, trim_blocks=True, lstrip_blocks=True)
  return environment.get_template("runs.html").render(
      rows=[describe_run(run, color) for run, color in zip(runs, COLORS, strict=False)],
      differences=differences, points=_POINTS,
      charts=[(_TITLES[name], draw_runs(runs, name)) for name in first],
      further=[(name.replace("_", " "), draw_runs(runs, name))
               for name in names if name not in first])


def describe_run(run: RunLog, color: str) -> RunRow:
  """Returns the row of a run; `color` is that of its lines."""
  loss = run.series.get("train/loss")
  values = loss.values[np.isfinite(loss.values)] if loss else np.zeros(0)
  return RunRow(
      run.name, color, max(int(series.steps[-1]) for series in run.series.values()),
      float(values[-max(len(values) // 10, 1):].mean()) if len(values) else None,
      tuple(_find_best(run.series.get(f"validation/{name}")) for name in _SCORES),
      sum(int(np.isnan(series.values).sum()) for series in run.series.values()))


def _find_best(series):
  if series is None or np.isnan(series.values).all():
    return None
  row = int(np.nanargmax(series.values))
  return float(series.values[row]), int(series.steps[row])


def draw_runs(runs: Sequence[RunLog], name: str) -> str:
  """Returns the SVG of one number: lines for training, dots for validations.

  Args:
    runs: in the order of colours.
    name: such as "loss", of "train/loss" and "validation/loss".
  """
  # Means are for losses that vary from step to step: the best validation keeps its dot.
  lines = [(kind, run, color, one.thin(_POINTS if kind == "train" else len(one.steps) or 1))
           for run, color in zip(runs, COLORS, strict=False) for kind in ("train", "validation")
           if (one := run.series.get(f"{kind}/{name}"))]
  largest, limit = _find_limit(lines)
  # The steps of all charts are the same, so that they can be compared.
  x = _hold([one.steps for run in runs for one in run.series.values()], 56, 448)
  y = _hold([np.minimum(series.values, limit) for *_, series in lines], 258, 16)
  svg = new_chart(460, 300, _TITLES.get(name, name.replace("_", " ")))
  draw_axes(svg, x, y, x_title="step")
  if largest > limit:
    add(svg, "text", class_="title", x=x.end, y=y.end + 10, text_anchor="end",
        text=f"values up to {largest:.4g} are at the edge")
  for kind, run, color, series in lines:
    points = list(zip(series.steps.tolist(), np.minimum(series.values, limit).tolist(),
                      strict=True))
    dashes = "3 4" if kind == "validation" else ""
    draw_line(svg, x, y, points, color=color, tip=f"{run.name}, {kind}", dashes=dashes)
    if kind == "validation" or len(points) == 1:
      for (step, height), value in zip(points, series.values.tolist(), strict=True):
        add(svg, "circle", cx=x.place(step), cy=y.place(height), r=3.5, fill=color,
            tip=f"{run.name}, {kind}, step {step:g}: {value:.4g}")
  return as_markup(svg)


def _find_limit(lines) -> tuple[float, float]:
  """Returns the largest value, and the one that a chart ends with; scores are never cut off."""
  largest = max((series.values.max(initial=0.0) for *_, series in lines), default=0.0)
  trained = [series.values for kind, *_, series in lines if kind == "train" and len(series.steps)]
  limit = _LARGEST * float(np.quantile(np.concatenate(trained), 0.9)) if trained else 0.0
  return largest, limit if 0 < limit < largest else largest


def _hold(parts: Sequence[np.ndarray], start: float, end: float) -> Axis:
  """Returns an axis that holds all values, and 0."""
  values = np.concatenate([*parts, np.zeros(1)])
  low, high = float(values.min()), float(values.max())
  high = high if high > low else low + 1
  return Axis(low, high, start, end, round_ticks(low, high))
