"""The error browser's page: scores, kinds of errors, categories, and a card per image."""

import collections
import pathlib
from typing import NamedTuple

import jinja2

from mnc_jax.evaluation.metrics.errors import (
    ERROR_KINDS,
    FALSE_KINDS,
    LOCALISATION_IOU,
    count_confusions,
    count_kinds,
)
from mnc_jax.evaluation.report.charts import Charts
from mnc_jax.evaluation.report.pictures import KIND_COLORS

_TEMPLATES = pathlib.Path(__file__).with_name("templates")
_CHART_TEMPLATES = _TEMPLATES.parents[1] / "charts" / "templates"
_EXAMPLES = 5  # Images to which a kind of error links.
_CONFUSIONS = 12
_CHARTS = 12  # Categories whose charts are seen at once; the others unfold.


class Settings(NamedTuple):
  """Arguments of `write_report`, and `names`, {category id: name}."""
  title: str
  names: dict
  iou_threshold: float
  min_score: float
  scores: dict
  category_scores: dict


def make_page(judged: list, cards: list, charts: Charts, settings: Settings) -> str:
  """Returns the HTML of the page.

  Args:
    judged: `ImageErrors` of all images, worst first.
    cards: `Card` of the first of them.
    charts: of the whole set.
    settings: of the page.
  """
  counts = sorted(count_kinds(judged).items(), key=lambda item: -_count_errors(item[1]))
  total = sum((count for _, count in counts), collections.Counter())
  environment = jinja2.Environment(
      loader=jinja2.FileSystemLoader([_TEMPLATES, _CHART_TEMPLATES]),
      undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
  return environment.get_template("page.html").render(
      settings=settings, names=settings.names, cards=cards, charts=charts, colors=KIND_COLORS,
      first_charts=_CHARTS,
      images=len(judged), results=sum(len(one.results) for one in judged),
      hidden=sum(one.hidden for one in judged), total=total,
      false_positives=sum(total[kind] for kind in FALSE_KINDS),
      kinds=_describe_kinds(judged[:len(cards)], total, settings.iou_threshold),
      most_of_a_kind=max(total[kind] for kind in ERROR_KINDS),
      confusions=count_confusions(judged).most_common(_CONFUSIONS),
      columns=["instances", "found", *ERROR_KINDS], counts=counts,
      options=sorted((settings.names[category], category) for category, _ in counts),
      most_of_a_category=max([_count_errors(count) for _, count in counts], default=0),
      highest_cost_hidden=max([one.cost for one in judged[len(cards):]], default=0))


def describe_kinds(iou_threshold: float) -> dict[str, str]:
  """Returns {kind: meaning} of errors at `iou_threshold`."""
  return {
      "duplicate": f"IoU of {iou_threshold:g} or more with an instance of its category that a "
                   "better result has already found",
      "confusion": f"right place, wrong category: IoU of {iou_threshold:g} or more with an "
                   "instance of another category",
      "localisation": f"right category, poor mask: IoU from {LOCALISATION_IOU:g} to below "
                      f"{iou_threshold:g} with an instance of its category",
      "background": "every other false positive",
      "missed": "an instance that no result found"}


def _describe_kinds(shown, total, iou_threshold):
  """Returns (kind, meaning, share of all errors, images with most of it) of each kind."""
  errors = max(_count_errors(total), 1)
  return [(kind, meaning, f"{total[kind] / errors:.0%}", _find_examples(shown, kind))
          for kind, meaning in describe_kinds(iou_threshold).items()]


def _find_examples(shown, kind):
  """Returns (rank, image id, count) of the cards with most errors of a kind."""
  counted = [(rank, one.image["id"], _count_kind(one, kind)) for rank, one in enumerate(shown, 1)]
  return sorted((item for item in counted if item[2]), key=lambda item: -item[2])[:_EXAMPLES]


def _count_kind(errors, kind):
  return (len(errors.missed) if kind == "missed"
          else sum(judged.kind == kind for judged in errors.results))


def _count_errors(count):
  return sum(count[kind] for kind in ERROR_KINDS)
