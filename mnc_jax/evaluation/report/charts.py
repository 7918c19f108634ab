"""The charts of the report: precision by recall, calibration, and the confusion matrix."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mnc_jax.evaluation.charts.svg import (
  COLORS,
  Axis,
  add,
  as_markup,
  draw_axes,
  draw_line,
  new_chart,
)
from mnc_jax.evaluation.metrics.confusion import confusion_matrix
from mnc_jax.evaluation.metrics.curves import (
  Calibration,
  Curve,
  calibrate,
  match_scored,
  mean_precision,
  precision_curves,
)
from mnc_jax.evaluation.report.matrix import MOST_ROWS, draw_matrix

# Of mAP^r, in the head of the page too.
_THRESHOLDS = (0.5, 0.7)
_FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_RECALLS = np.linspace(0, 1, 101)
_SMALL = (150, 118)  # Pixels of a chart per category.


class CategoryChart(NamedTuple):
  """Precision by recall of a category: its AP (11 points) at each threshold, and the SVG."""
  name: str
  scores: tuple[float, ...]
  chart: str


class Charts(NamedTuple):
  """What the page shows as SVG.

  Attributes:
    keys: (text, colour) of each line of the precision charts.
    precision: mean over the categories; "" without an instance in the ground truth.
    categories: `CategoryChart` of each, worst first; empty if there is one only.
    calibration: of results of any score; "" without results.
    calibration_error: of those that score `min_score` or more.
    judged: number of these.
    matrix: "" without instances and results.
    joined: number of categories that share a row of the matrix.
  """
  keys: list[tuple[str, str]]
  precision: str
  categories: list[CategoryChart]
  calibration: str
  calibration_error: float
  judged: int
  matrix: str
  joined: int


def make_charts(ground_truth: dict, results: Sequence[dict], judged: Sequence,
                iou_threshold: float, min_score: float) -> Charts:
  """Returns the charts of a page.

  Args:
    ground_truth: of `write_report`.
    results: of `write_report`, of any score, as in mAP^r.
    judged: `ImageErrors` of all images, for the matrix.
    iou_threshold: from which a result is right, in the calibration.
    min_score: of the results in the matrix, and in the error of the calibration.
  """
  scored = match_scored(ground_truth, results)
  curves = [precision_curves(scored, threshold) for threshold in _THRESHOLDS]
  calibration = calibrate(scored, iou_threshold)
  names = {category["id"]: category["name"] for category in ground_truth["categories"]}
  counts = confusion_matrix(judged, list(names))
  shown = calibrate(scored, iou_threshold, min_score=min_score)
  return Charts(
      keys=[(_key(threshold, some), color)
            for threshold, some, color in zip(_THRESHOLDS, curves, COLORS, strict=False)],
      precision=draw_precision(curves) if curves[0] else "",
      categories=_draw_categories(curves) if len(curves[0]) > 1 else [],
      calibration=(draw_calibration(calibration, iou_threshold) if calibration.counts.any()
                   else ""),
      calibration_error=shown.error, judged=int(shown.counts.sum()),
      matrix=draw_matrix(counts, list(names.values())) if counts.any() else "",
      joined=len(names) - MOST_ROWS + 1 if len(names) > MOST_ROWS else 0)


def _key(threshold, curves):
  mean = np.mean([curve.ap_11point for curve in curves.values()]) if curves else 0.0
  return f"IoU {threshold:g}: mAP^r {mean:.3f}"


def draw_precision(curves: Sequence[dict[str, Curve]]) -> str:
  """Returns the SVG of the mean precision over categories, a line per {category: Curve}."""
  svg = new_chart(460, 320, "Precision by recall, mean over the categories")
  x, y = Axis(0, 1, 44, 448, _FIFTHS), Axis(0, 1, 280, 28, _FIFTHS)
  draw_axes(svg, x, y, x_title="recall", y_title="precision")
  for threshold, some, color in reversed(list(zip(_THRESHOLDS, curves, COLORS, strict=False))):
    means = mean_precision(list(some.values()), _RECALLS)
    draw_line(svg, x, y, zip(_RECALLS, means, strict=True), color=color, tip=_key(threshold, some))
  return as_markup(svg)


def _draw_categories(curves) -> list[CategoryChart]:
  charts = [CategoryChart(name, tuple(some[name].ap_11point for some in curves),
                          draw_category(name, [some[name] for some in curves]))
            for name in curves[0]]
  return sorted(charts, key=lambda chart: chart.scores)


def draw_category(name: str, curves: Sequence[Curve]) -> str:
  """Returns a small SVG of one category's precision by recall, a line per `Curve`."""
  width, height = _SMALL
  svg = new_chart(width, height, f"Precision by recall of {name}")
  x = Axis(0, 1, 26, width - 8, (0.0, 0.5, 1.0))
  y = Axis(0, 1, height - 20, 8, (0.0, 0.5, 1.0))
  draw_axes(svg, x, y)
  for threshold, curve, color in reversed(list(zip(_THRESHOLDS, curves, COLORS, strict=False))):
    draw_line(svg, x, y, list_corners(curve), color=color,
              tip=f"IoU {threshold:g}: AP^r {curve.ap_11point:.3f}")
  return as_markup(svg)


def list_corners(curve: Curve) -> list[tuple[float, float]]:
  """Returns the (recall, precision) where the line of a falling `curve` turns."""
  # Results that find nothing have no recall of their own; the last of each precision is an end.
  hits = np.flatnonzero(np.diff(curve.recalls, prepend=0.0))
  ends = hits[np.flatnonzero(np.diff(curve.precisions[hits], append=-1.0))]
  corners, recall = [], 0.0
  for end in ends:
    precision = float(curve.precisions[end])
    corners += [(recall, precision), (float(curve.recalls[end]), precision)]
    recall = float(curve.recalls[end])
  return [*corners, (recall, 0.0)] if corners else [(0.0, 0.0), (1.0, 0.0)]


def draw_calibration(calibration: Calibration, iou_threshold: float) -> str:
  """Returns the SVG of a reliability diagram, and below it how many results have each score."""
  svg = new_chart(460, 360, f"Share of right results (IoU {iou_threshold:g}) by score")
  x, y = Axis(0, 1, 44, 448, _FIFTHS), Axis(0, 1, 226, 28, _FIFTHS)
  # Most results score little: on a linear scale the others would not be seen.
  rows = Axis(0, np.log1p(max(calibration.counts.max(), 1)), 320, 282, ())
  draw_axes(svg, x._replace(ticks=()), y, y_title="share of right results")
  draw_axes(svg, x, rows, x_title="score")
  add(svg, "text", class_="title", x=10, y=258, text="number of results, logarithmic")
  bins = len(calibration.counts)
  for row, (count, score, share) in enumerate(zip(*calibration[:3], strict=True)):
    if count:
      tip = (f"{count} results scoring {row / bins:g} to {(row + 1) / bins:g}, {score:.3f} on "
             f"average: {share:.3f} are right")
      left, right = x.place(row / bins) + 1, x.place((row + 1) / bins) - 1
      _add_bar(svg, "share", left, right, y.start, y.place(share), tip)
      _add_bar(svg, "count", left, right, rows.start, rows.place(np.log1p(count)), tip)
      add(svg, "path", class_="mean", d=f"M{left:.2f} {y.place(score):.2f}H{right:.2f}", tip=tip)
      add(svg, "text", class_="tick", x=(left + right) / 2, y=rows.place(np.log1p(count)) - 3,
          text_anchor="middle", text=str(count))
  draw_line(svg, x, y, [(0, 0), (1, 1)], color="#7b858f", dashes="4 4")
  return as_markup(svg)


def _add_bar(svg, kind, left, right, bottom, top, tip):
  add(svg, "rect", class_=kind, x=left, y=top, width=right - left, height=bottom - top, tip=tip)
