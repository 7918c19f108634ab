"""The error browser's page around its cards: scores, kinds of errors, categories."""

import collections
from html import escape
import pathlib
import string
from typing import NamedTuple

from mnc_jax.evaluation.metrics.errors import (
  ERROR_KINDS,
  FALSE_KINDS,
  LOCALISATION_IOU,
  count_confusions,
  count_kinds,
)
from mnc_jax.evaluation.report.cards import badge, plural
from mnc_jax.evaluation.report.pictures import KIND_COLORS

_TEMPLATE = pathlib.Path(__file__).with_name("page.html")
_EXAMPLES = 5  # Images to which a kind of error links.
_CONFUSIONS = 12


class Settings(NamedTuple):
  """What a page tells beside the errors; the fields are arguments of `write_report`.

  Attributes:
    title: heading.
    names: {category id: name}.
    iou_threshold: of the kinds.
    min_score: below it results count as not given.
    scores: {name: number}.
    category_scores: {column: {category name: number}}.
  """
  title: str
  names: dict
  iou_threshold: float
  min_score: float
  scores: dict
  category_scores: dict


def make_page(judged, cards, settings: Settings) -> str:
  """Returns the whole page.

  Args:
    judged: `ImageErrors` of all images, worst first.
    cards: HTML of the first of them.
    settings: of the page.
  """
  counts = count_kinds(judged)
  total = sum(counts.values(), collections.Counter())
  return string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
      title=escape(settings.title), colors=_color_rules(),
      summary=_summarize(judged, total, settings), scores=_make_tiles(total, settings),
      kinds=_chart_kinds(judged[:len(cards)], total, settings),
      confusions=_list_confusions(judged, settings.names),
      categories=_make_table(counts, total, settings),
      options=_make_options(counts, settings.names),
      left_out=_tell_left_out(judged, len(cards)), cards="".join(cards))


def describe_kinds(iou_threshold: float) -> dict:
  """Returns {kind: what it means, in words} of errors at `iou_threshold`."""
  return {
      "duplicate": f"IoU of {iou_threshold:g} or more with an instance of its category that a "
                   "better result has already found",
      "confusion": f"right place, wrong category: IoU of {iou_threshold:g} or more with an "
                   "instance of another category",
      "localisation": f"right category, poor mask: IoU from {LOCALISATION_IOU:g} to below "
                      f"{iou_threshold:g} with an instance of its category",
      "background": "every other false positive",
      "missed": "an instance that no result found"}


def _color_rules():
  return "".join(f"--{kind}: rgb{color}; " for kind, color in KIND_COLORS.items())


def _summarize(judged, total, settings):
  hidden = sum(one.hidden for one in judged)
  results = sum(len(one.results) for one in judged)
  text = (f"{plural(len(judged), 'image')}, {plural(total['instances'], 'instance')}, "
          f"{plural(results, 'result')} scoring {settings.min_score:g} or more")
  left_out = f" {plural(hidden, 'result')} below that count as not given, except in the scores."
  return f"{text}.{left_out if hidden else ''}"


def _make_tiles(total, settings):
  false = sum(total[kind] for kind in FALSE_KINDS)
  tiles = [(name, f"{value:.3f}") for name, value in settings.scores.items()]
  tiles.append(("instances found", f"{total['found']} of {total['instances']}"))
  tiles.append(("false positives", f"{false} of {false + total['found']}"))
  return "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in tiles)


def _chart_kinds(shown, total, settings):
  largest, everything = (f(total[kind] for kind in ERROR_KINDS) for f in (max, sum))
  rows = []
  for kind, meaning in describe_kinds(settings.iou_threshold).items():
    count = total[kind]
    bar = _draw_bar(kind, count, largest)
    share = f"{count / max(everything, 1):.0%}"
    rows.append(
        f'<tr><th scope="row"><a href="#images" data-show="{kind}">{badge(kind)}</a></th>'
        f'<td class="number">{count}</td><td class="number share">{share}</td>'
        f'<td class="chart">{bar}</td>'
        f'<td class="meaning">{escape(meaning)}{_link_examples(shown, kind)}</td></tr>\n')
  return "".join(rows)


def _link_examples(shown, kind):
  """Returns links to the cards with most errors of a kind."""
  counted = [(count_kind(one, kind), rank) for rank, one in enumerate(shown, 1)]
  most = sorted((pair for pair in counted if pair[0]), key=lambda pair: -pair[0])[:_EXAMPLES]
  links = ", ".join(f'<a href="#card-{rank}">{escape(str(shown[rank - 1].image["id"]))}</a> '
                    f"({count})" for count, rank in most)
  return f' <span class="examples">Most in image {links}</span>' if links else ""


def count_kind(errors, kind: str) -> int:
  """Returns how many errors of a kind an image has."""
  return (len(errors.missed) if kind == "missed"
          else sum(judged.kind == kind for judged in errors.results))


def _list_confusions(judged, names):
  pairs = count_confusions(judged).most_common(_CONFUSIONS)
  if not pairs:
    return '<p class="note">No confusions.</p>'
  lines = (f"<li><b>{escape(names[given])}</b> where there is <b>{escape(names[right])}</b> "
           f'<span class="count">{count}</span></li>' for (given, right), count in pairs)
  return f'<ul class="pairs">{"".join(lines)}</ul>'


def _make_table(counts, total, settings):
  """Returns the rows of the table of categories, and its head; most errors first."""
  columns = ("instances", "found", *ERROR_KINDS)
  head = "".join(f'<th class="number">{escape(column)}</th>'
                 for column in (*columns, *settings.category_scores))
  largest = max([_count_errors(count) for count in counts.values()], default=1)
  rows = [_category_row(category, counts[category], largest, columns, settings)
          for category in sorted(counts, key=lambda category: -_count_errors(counts[category]))]
  sums = "".join(f'<td class="number">{total[column]}</td>' for column in columns)
  return (f"<thead><tr><th>category</th>{head}<th>errors</th></tr></thead>"
          f"<tbody>{''.join(rows)}</tbody><tfoot><tr><th>all</th>{sums}"
          f'<td colspan="{len(settings.category_scores) + 1}"></td></tr></tfoot>')


def _count_errors(count):
  return sum(count[kind] for kind in ERROR_KINDS)


def _category_row(category, count, largest, columns, settings):
  name = settings.names[category]
  cells = [str(count[column]) for column in columns]
  values = [column.get(name) for column in settings.category_scores.values()]
  cells += ["–" if value is None else f"{value:.3f}" for value in values]
  parts = "".join(_draw_bar(kind, count[kind], largest) for kind in ERROR_KINDS)
  return (f'<tr><th scope="row"><a href="#images" data-category="{category}">{escape(name)}</a>'
          f"</th>{''.join(f'<td class=number>{cell}</td>' for cell in cells)}"
          f'<td class="chart stack">{parts}</td></tr>\n')


def _draw_bar(kind, count, largest):
  style = f"width: {100 * count / max(largest, 1):.1f}%"
  return f'<i class="bar {kind}" style="{style}"></i>' if count else ""


def _make_options(counts, names):
  options = sorted((names[category], category) for category in counts)
  return "".join(f'<option value="{category}">{escape(name)}</option>'
                 for name, category in options)


def _tell_left_out(judged, shown):
  rest = judged[shown:]
  if not judged:
    return "The set has no images."
  if not rest:
    return "The set has one image." if shown == 1 else f"All {shown} images are shown."
  return (f"Shown are the worst {shown} of {len(judged)} images; {len(rest)} of cost "
          f"{rest[0].cost:.2f} or less are left out.")
