"""One image of the error browser as HTML: both pictures, and a line for every error."""

from html import escape

from mnc_jax.evaluation.metrics.errors import FALSE_KINDS
from mnc_jax.evaluation.metrics.records import is_crowd


def make_card(rank: int, errors, names, pictures, min_score: float) -> str:
  """Returns the `<article>` of an image.

  Args:
    rank: 1 for the worst.
    errors: `ImageErrors` of it.
    names: {category id: name}.
    pictures: `Pictures` of it.
    min_score: below it results count as not given.
  """
  image = errors.image
  about = [escape(str(image["file_name"]))] if "file_name" in image else []
  about.append(f"{image['width']} × {image['height']}")
  return f"""
<article class="card" id="card-{rank}">
<header>
<h3><a href="#card-{rank}" class="rank">{rank}</a> Image {escape(str(image["id"]))}
<small>{" · ".join(about)}</small></h3>
<p class="cost">cost <b>{errors.cost:.2f}</b></p>
</header>
<div class="pictures">
{_figure(pictures.ground_truth, pictures, _describe_ground_truth(errors))}
{_figure(pictures.results, pictures, _describe_results(errors, min_score))}
</div>
{_list_errors(errors, names, min_score)}
</article>"""


def badge(kind: str) -> str:
  """Returns the name of a kind in its colour."""
  return f'<span class="kind {kind}">{kind}</span>'


def plural(count: int, noun: str) -> str:
  """Returns the count with its noun: "1 image", "2 images"."""
  return f"{count} {noun}" + ("" if count == 1 else "s")


def _figure(path, pictures, caption):
  text = escape(caption)
  return (f'<figure><figcaption>{text}</figcaption><a href="{path}"><img src="{path}" '
          f'width="{pictures.width}" height="{pictures.height}" loading="lazy" decoding="async" '
          f'alt="{text}"></a></figure>')


def _describe_ground_truth(errors):
  crowds = sum(map(is_crowd, errors.annotations))
  parts = [plural(len(errors.annotations) - crowds, "instance")]
  if errors.missed:
    parts.append(f"{len(errors.missed)} missed")
  if crowds:
    parts.append(plural(crowds, "crowd region"))
  return "Ground truth: " + ", ".join(parts)


def _describe_results(errors, min_score):
  false = sum(judged.kind in FALSE_KINDS for judged in errors.results)
  parts = [plural(len(errors.results), "result")]
  if false:
    parts.append(f"{false} false")
  if errors.hidden:
    parts.append(f"{errors.hidden} below {min_score:g} not shown")
  return "Prediction: " + ", ".join(parts)


def _list_errors(errors, names, min_score):
  finders = {one.instance: number for number, one in enumerate(errors.results, 1)
             if one.kind == "found"}
  rows = [_false_row(number, one, errors, names, finders)
          for number, one in enumerate(errors.results, 1) if one.kind in FALSE_KINDS]
  rows += [_missed_row(one, errors, names, min_score) for one in errors.missed]
  if not rows:
    return '<p class="note">No errors in this image.</p>'
  return f"""<div class="scroll errors" tabindex="0"><table>
<thead><tr><th>error</th><th>of</th><th class="number">score</th><th class="number">IoU</th>
<th>compared with</th></tr></thead>
<tbody>{"".join(rows)}</tbody></table></div>"""


def _false_row(number, judged, errors, names, finders):
  category = judged.record["category_id"]
  involved, place = [category], "nothing overlaps it"
  if judged.instance is not None:
    instance = errors.annotations[judged.instance]
    involved.append(instance["category_id"])
    place = _name_instance(judged.instance, errors, names)
    place = {"duplicate": f"{place}, found by result {finders.get(judged.instance)}",
             "background": f"closest: {place}"}.get(judged.kind, place)
  return _row(judged.kind, f"result {number}: {names[category]}", judged.record["score"],
              judged.overlap, place, involved)


def _missed_row(missed, errors, names, min_score):
  instance = errors.annotations[missed.instance]["category_id"]
  closest, place, involved = missed.closest, "nothing overlaps it", [instance]
  if closest is not None:
    involved.append(closest["category_id"])
    number = next((number for number, one in enumerate(errors.results, 1)
                   if one.record is closest), None)
    which = f"result {number}" if number else f"below {min_score:g}"
    place = f"closest: {names[closest['category_id']]} {closest['score']:.2f}, {which}"
  return _row("missed", _name_instance(missed.instance, errors, names), None, missed.overlap,
              place, involved)


def _name_instance(place, errors, names):
  return f"instance {place + 1}: {names[errors.annotations[place]['category_id']]}"


def _row(kind, what, score, overlap, place, categories):
  """Returns a line of the list; `categories` are those by which it can be filtered."""
  shown = "–" if score is None else f"{score:.2f}"
  ids = " ".join(str(category) for category in dict.fromkeys(categories))
  return (f'<tr data-kind="{kind}" data-categories="{ids}"><td>{badge(kind)}</td>'
          f'<td>{escape(what)}</td><td class="number">{shown}</td>'
          f'<td class="number">{overlap:.2f}</td><td>{escape(place)}</td></tr>\n')
