"""One image of the error browser: both pictures, and a row for each error."""

from typing import NamedTuple

from mnc_jax.evaluation.metrics.errors import FALSE_KINDS, ImageErrors
from mnc_jax.evaluation.metrics.records import is_crowd
from mnc_jax.evaluation.report.pictures import Pictures


class ErrorRow(NamedTuple):
  """An error: a result or instance, and what it was compared with, by which IoU `overlap`.

  A missed instance has no score; `categories` are the ids on both sides.
  """
  kind: str
  what: str
  score: float | None
  overlap: float
  compared: str
  categories: tuple


class Card(NamedTuple):
  """What the page shows of an image; `rows` are its errors."""
  errors: ImageErrors
  pictures: Pictures
  crowds: int
  false_positives: int
  rows: list[ErrorRow]


def make_card(errors: ImageErrors, names: dict, pictures: Pictures, min_score: float) -> Card:
  """Returns the card of an image; `names` is {category id: name}."""
  return Card(errors, pictures, sum(map(is_crowd, errors.annotations)),
              sum(judged.kind in FALSE_KINDS for judged in errors.results),
              _list_errors(errors, names, min_score))


def _list_errors(errors, names, min_score):
  finders = {one.instance: number for number, one in enumerate(errors.results, 1)
             if one.kind == "found"}
  return [_false_row(number, one, errors, names, finders)
          for number, one in enumerate(errors.results, 1) if one.kind in FALSE_KINDS] + [
              _missed_row(one, errors, names, min_score) for one in errors.missed]


def _false_row(number, judged, errors, names, finders):
  category = judged.record["category_id"]
  involved, compared = (category,), "nothing overlaps it"
  if judged.instance is not None:
    involved += (errors.annotations[judged.instance]["category_id"],)
    compared = _name_instance(judged.instance, errors, names)
    compared = {"duplicate": f"{compared}, found by result {finders.get(judged.instance)}",
                "background": f"closest: {compared}"}.get(judged.kind, compared)
  return ErrorRow(judged.kind, f"result {number}: {names[category]}", judged.record["score"],
                  judged.overlap, compared, involved)


def _missed_row(missed, errors, names, min_score):
  involved = (errors.annotations[missed.instance]["category_id"],)
  closest, compared = missed.closest, "nothing overlaps it"
  if closest is not None:
    involved += (closest["category_id"],)
    number = next((number for number, one in enumerate(errors.results, 1)
                   if one.record is closest), None)
    which = f"result {number}" if number else f"below {min_score:g}"
    compared = f"closest: {names[closest['category_id']]} {closest['score']:.2f}, {which}"
  return ErrorRow("missed", _name_instance(missed.instance, errors, names), None, missed.overlap,
                  compared, involved)


def _name_instance(index, errors, names):
  return f"instance {index + 1}: {names[errors.annotations[index]['category_id']]}"
