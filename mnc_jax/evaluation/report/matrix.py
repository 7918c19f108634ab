"""The confusion matrix as SVG: a row per category of the ground truth, a column per given one."""

from collections.abc import Sequence

import numpy as np

from mnc_jax.evaluation.charts.svg import add, as_markup, new_chart

MOST_ROWS = 20  # Categories; of more, those with most confusions are shown, the others joined.
_CELL, _LETTER = 34, 7  # Pixels of a cell, and of a letter.
_LETTERS = 16  # Of a name; longer ones are cut.
_RIGHT, _WRONG, _MIXED = (11, 95, 165), (179, 71, 0), (110, 118, 128)


def draw_matrix(counts: np.ndarray, names: Sequence[str]) -> str:
  """Returns the SVG of a confusion matrix.

  Args:
    counts: [C + 1, C + 1] from `confusion_matrix`.
    names: the C categories.
  """
  counts, names, joined = join_rare(counts, names)
  rows, columns = [*names, "no instance"], [*names, "missed"]
  longest = _LETTER * max(len(_shorten(name)) for name in rows)
  left, top, side = longest + 16, longest + 16, _CELL * len(counts)
  svg = new_chart(left + side + longest // 2, top + side + 4, "Confusion matrix")
  for index, (row, column) in enumerate(zip(rows, columns, strict=True)):
    middle = _CELL * (index + 0.5) + 4
    add(svg, "text", class_="name", x=left - 8, y=top + middle, text_anchor="end",
        text=_shorten(row), tip=row)
    x, y = left + middle, top - 8
    add(svg, "text", class_="name", x=x, y=y, transform=f"rotate(-60 {x:g} {y:g})",
        text=_shorten(column), tip=column)
  for row, column in np.ndindex(counts.shape):
    if (row, column) != (len(names), len(names)):
      corner = left + _CELL * column, top + _CELL * row
      _add_cell(svg, corner, row, column, counts, _describe(counts, names, row, column),
                mixed=joined and row == column == len(names) - 1)
  return as_markup(svg)


def _shorten(name):
  return name if len(name) <= _LETTERS else f"{name[:_LETTERS - 1]}…"


def join_rare(counts: np.ndarray, names: Sequence[str], *, most: int = MOST_ROWS
              ) -> tuple[np.ndarray, list[str], bool]:
  """Joins categories with few confusions, so that at most `most` rows remain.

  Args:
    counts: [C + 1, C + 1] from `confusion_matrix`.
    names: the C categories.
    most: of rows, without that of "no instance".

  Returns:
    Counts of the same sum, the names of rows and columns, and whether the last is of several.
  """
  if len(names) <= most:
    return counts, list(names), False
  wrong = counts[:-1, :-1] * ~np.eye(len(names), dtype=bool)
  involved = wrong.sum(0) + wrong.sum(1)
  kept = np.sort(np.argsort(-involved, kind="stable")[:most - 1])
  rest = np.setdiff1d(np.arange(len(names)), kept)
  groups = [*kept[:, np.newaxis], rest, np.array([len(names)])]
  joined = np.array([[counts[np.ix_(rows, columns)].sum() for columns in groups]
                     for rows in groups])
  return joined, [*[names[int(row)] for row in kept], f"{len(rest)} others"], True


def _describe(counts, names, row, column):
  count, last = counts[row, column], len(names)
  if row == last:
    return f"{count} results {names[column]} that count for no instance"
  of = f"{count} of {counts[row].sum()} instances {names[row]}"
  return f"{of}: missed" if column == last else f"{of}: given {names[column]}"


def _add_cell(svg, corner, row, column, counts, tip, *, mixed):
  """Adds a cell, the darker the larger its share of the row; `mixed`: right and wrong ones."""
  count = int(counts[row, column])
  # The square root separates the small shares, which errors are.
  strength = (count / max(counts[row].sum(), 1)) ** 0.5
  color = _MIXED if mixed else _RIGHT if row == column else _WRONG
  x, y = corner
  fill = _blend(color, strength) if count else "#f4f6f8"
  add(svg, "rect", class_="cell", x=x, y=y, width=_CELL - 1, height=_CELL - 1, fill=fill, tip=tip)
  if count:
    add(svg, "text", class_="count", x=x + _CELL / 2 - 0.5, y=y + _CELL / 2 + 4,
        text=str(count) if count < 10**4 else f"{count // 1000}k", text_anchor="middle", tip=tip,
        style="fill: #ffffff" if strength > 0.6 else "fill: #1d2229")


def _blend(color, strength):
  return "rgb({}, {}, {})".format(*(round(255 + strength * (one - 255)) for one in color))
