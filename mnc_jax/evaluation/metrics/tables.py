"""Scores of `scoring.score_results` as a table per category, in text and as CSV."""

import csv
import io
import itertools
import textwrap
from typing import NamedTuple

from mnc_jax.evaluation.metrics.coco import NOTHING_TO_FIND

_WIDTH = 100  # Characters of a line.
_TITLES = {"segm": "mask", "bbox": "box", "boundary": "boundary"}


class Column(NamedTuple):
  """One number of all categories.

  Attributes:
    title: its name.
    values: {category name: number}.
    mean: over the categories.
  """
  title: str
  values: dict
  mean: float


def format_table(scores: dict) -> str:
  """Returns text: a line per category and their mean, then the numbers of the whole set.

  Lines have at most 100 characters: what is wider is continued below.

  11-point AP, and COCO's AP, AP50 and AP75; the rest is in the CSV and the JSON. "-" is
  where there is no instance to find.

  Args:
    scores: of `scoring.score_results`.
  """
  columns = _columns(scores, averages=("11point",), numbers=slice(3))
  counts = scores["instances"]
  texts = [["category", *counts, "mean"],
           ["instances", *map(str, counts.values()), str(sum(counts.values()))],
           *[[column.title.removesuffix(" 11point"),
              *[_show(column.values[name]) for name in counts], _show(column.mean)]
             for column in columns]]
  return "\n".join([*_format_blocks(texts), *_format_whole(scores)])


def _format_blocks(columns) -> list[str]:
  """Returns lines of the columns that fit beside the first one, then those of the next ones."""
  first, *others = columns
  room, blocks = _WIDTH - max(map(len, first)), [[]]
  # Columns of one kind, which is the first word of their titles, stay together.
  for _, group in itertools.groupby(others, key=lambda column: column[0].split()[0]):
    group = list(group)
    if sum(2 + max(map(len, column)) for column in (*blocks[-1], *group)) > room and blocks[-1]:
      blocks.append([])
    blocks[-1] += group
  texts = [_rule(_align(list(zip(first, *block, strict=True)))) for block in blocks]
  return list(itertools.chain(texts[0], *(["", *text] for text in texts[1:])))


def _rule(lines):
  """Returns the lines of a table with rules below the head and above the mean."""
  rule = "-" * len(lines[0])
  return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def format_csv(scores: dict) -> str:
  """Returns all numbers of all categories as CSV, at full precision; the last line is the mean.

  Empty where there is no instance to find.

  Args:
    scores: of `scoring.score_results`.
  """
  columns = _columns(scores, averages=("11point", "area"), numbers=slice(None))
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(["category", "instances", *[column.title for column in columns]])
  def cells(values):
    return ["" if value == NOTHING_TO_FIND else value for value in values]
  for name, count in scores["instances"].items():
    writer.writerow([name, count, *cells(column.values[name] for column in columns)])
  writer.writerow(["mean", sum(scores["instances"].values()), *cells(c.mean for c in columns)])
  return text.getvalue()


def _columns(scores, *, averages, numbers) -> list[Column]:
  """Returns a column for each number per category that `scores` have, `numbers` of COCO's."""
  columns = []
  for title, part in (("AP^r", scores), ("AP^b", scores.get("boxes", {}))):
    for threshold in ("0.5", "0.7"):
      if threshold in part:
        columns += [Column(f"{title}@{threshold} {average}", part[threshold][f"ap_{average}"],
                           part[threshold][f"mean_ap_{average}"]) for average in averages]
  for name, categories in scores.get("per_category", {}).items():
    columns += [Column(f"{_TITLES[name]} {number}",
                       {category: of[number] for category, of in categories.items()},
                       scores[name][number]) for number in tuple(scores[name])[numbers]]
  return columns


def _format_whole(scores) -> list[str]:
  lines = []
  for title, part in (("AP^r_vol", scores), ("AP^b_vol", scores.get("boxes", {}))):
    if "ap_vol_11point" in part:
      lines.append(f"{title}, mean over IoU .1 to .9: {part['ap_vol_11point']:.3f}")
  kinds = list(scores.get("per_category", {}))
  if kinds:
    rows = [[_TITLES[kind], *map(_show, scores[kind].values())] for kind in kinds]
    lines += ["", *_align([["COCO", *scores[kinds[0]]], *rows]), *_format_limit(scores)]
  if scores["left_out"]:
    names = f"without ground truth, in no mean: {', '.join(scores['left_out'])}"
    lines += ["", *textwrap.wrap(names, _WIDTH)]
  return lines


def _format_limit(scores) -> list[str]:
  """Returns lines if fewer results count than there are instances."""
  if scores["highest_recall"] == 1:
    return []
  return textwrap.wrap(
      f"Of each image and category the best {scores['max_results']} results count in these "
      "numbers, and some images have more instances: a perfect network has recall "
      f"{scores['highest_recall']:.3f}. --max-results counts more.", _WIDTH)


def _show(value):
  return "-" if value == NOTHING_TO_FIND else f"{value:.3f}"


def _align(rows) -> list[str]:
  """Returns lines of equal length: the first column to the left, the others to the right."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return ["  ".join([row[0].ljust(widths[0]),
                     *[cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]])
          for row in rows]
