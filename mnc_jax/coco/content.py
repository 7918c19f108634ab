"""COCO's annotation files and lists of results as a whole, checked row by row (`schema.py`)."""

from collections.abc import Callable, Iterator
import json
import pathlib
import sys
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from mnc_jax.coco import schema
from mnc_jax.coco.faults import Fault, FaultReport, list_first, raise_fault
from mnc_jax.coco.placeholder import drop_placeholder
from mnc_jax.coco.schema import Row


class SoundRows(NamedTuple):
  """The sound rows of an annotation file, in its order.

  Attributes:
    images: by id.
    categories: by id.
    annotations: as `convert` of `check_content` returns them.
  """
  images: dict[int, Row]
  categories: dict[int, Row]
  annotations: list[Any]


def read_json(path: pathlib.Path) -> Any:
  """Returns the content of the JSON file at `path`.

  Raises:
    ValueError: if it cannot be read or is not JSON, naming the file.
  """
  try:
    return json.loads(path.read_bytes(), object_pairs_hook=_make_object)
  except OSError as error:
    raise ValueError(f"cannot read {path}: {error.strerror}") from error
  except ValueError as error:
    raise ValueError(f"{path} is not JSON: {error}") from error
  except RecursionError:
    raise ValueError(f"{path} cannot be read: lists or objects are nested deeper than "
                     f"{sys.getrecursionlimit()} levels") from None


def _make_object(pairs):
  """Returns an object of JSON, of which Python would keep the last of equal fields."""
  found = dict(pairs)
  if len(found) != len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f"an object has the field {twice!r} twice")
  return found


def check_content(content: Any, *, name: str, report: FaultReport = raise_fault,
                  check_image: Callable[[Row], None] = lambda image: None,
                  convert: Callable[[Row, Row], Any] = lambda annotation, image: annotation
                  ) -> SoundRows:
  """Returns the sound rows of an annotation file.

  Bad images and annotations go to `report` and are dropped; the annotations of a bad image are
  dropped without a report.

  Args:
    content: the parsed file.
    name: what messages call it, for example its path.
    report: called with each fault, whose message names file, id and field.
    check_image: a further check of an image; raises ValueError.
    convert: (annotation, its image) -> what is returned of it; raises ValueError.

  Raises:
    ValueError: if a section is missing, or a category is bad or there is none.
  """
  content, dropped = drop_placeholder(content, name=name)
  if dropped:
    report(Fault("set", dropped))
  _check_sections(content, name)
  categories = {row["id"]: row for row in _rows_with_ids(content, "categories", name, raise_fault)}
  _check_names(categories, name)
  images = _read_images(content, name, report, check_image)
  annotations = _read_annotations(content, name, report, images, categories, convert)
  return SoundRows(images, categories, annotations)


def _read_images(content, name, report, check_image):
  """Returns the sound images by id."""
  images = {}
  for row in _rows_with_ids(content, "images", name, report):
    try:
      schema.check_size(row)
      check_image(row)
      images[row["id"]] = row
    except ValueError as error:
      report(Fault("image", f"{name}: image {row['id']}: {error}"))
  for image_id, names in _names_of_ids(content["images"]).items():
    if len(names) > 1 and images.pop(image_id, None):
      report(Fault("image", f"{name}: image {image_id}: {list_first(names)} have this id, so it is "
                            "not known whose its annotations are"))
  return images


def _read_annotations(content, name, report, images, categories, convert):
  """Returns the sound annotations of sound images, converted."""
  bad_images = {row["id"] for row in content["images"]
                if isinstance(row, dict) and schema.is_integer(row.get("id"))} - images.keys()
  annotations, count = [], len(content["annotations"])
  rows = _rows_with_ids(content, "annotations", name, report)
  for row in tqdm(rows, f"Checking {name}", count, delay=2):
    try:
      if row["image_id"] not in bad_images:
        schema.check_annotation(row, images, categories)
        annotations.append(convert(row, images[row["image_id"]]))
    except ValueError as error:
      report(Fault("annotation", f"{name}: annotation {row['id']} of image {row['image_id']}: "
                                 f"{error}"))
  return annotations


def check_results(results: Any, images: dict[int, Row], categories: dict[int, Row], *, name: str,
                  convert: Callable[[Row, Row], Any] = lambda result, image: result) -> list[Any]:
  """Returns the results for these images and categories, by id; an empty list is fine.

  Args:
    results: list of {image_id, category_id, score, and segmentation or bbox or both}.
    images: of the ground truth.
    categories: of the ground truth.
    name: what messages call the results, for example a path.
    convert: (result, its image) -> what is returned of it; raises ValueError.

  Raises:
    ValueError: naming the result by its index in the list, and its image.
  """
  if not isinstance(results, list):
    raise ValueError(f"{name}: a list of results is needed, not {type(results).__name__}")
  for index, row in enumerate(results):
    try:
      schema.check_fields(row, "results")
    except ValueError as error:
      raise ValueError(f"{name}: result {index}: {error}") from None
  for field, known in (("image_id", images), ("category_id", categories)):
    unknown = sorted({row[field] for row in results} - known.keys())
    if unknown:
      raise ValueError(
          f"{name}: results with {len(unknown)} unknown {field}: {list_first(unknown)}")
  converted = []
  for index, row in enumerate(tqdm(results, f"Checking {name}", delay=2)):
    try:
      schema.check_result(row)
      converted.append(convert(row, images[row["image_id"]]))
    except ValueError as error:
      raise ValueError(f"{name}: result {index} of image {row['image_id']}: {error}") from None
  return converted


def _check_sections(content, name):
  if not isinstance(content, dict):
    raise ValueError(f"{name} is not in COCO format: {type(content).__name__} instead of an object "
                     "with images, annotations and categories")
  for section in ("images", "annotations", "categories"):
    if not isinstance(content.get(section), list):
      raise ValueError(f"{name} is not in COCO format: no list {section!r}")
  if not content["categories"]:
    raise ValueError(f"{name}: 'categories' is empty: there is nothing to learn or to score")


def _rows_with_ids(content, section, name, report) -> Iterator[Row]:
  """Yields the rows that have their fields, and an id that no earlier one has."""
  seen = set()
  for index, row in enumerate(content[section]):
    try:
      schema.check_fields(row, section)
      if row["id"] in seen:
        raise ValueError(f"id {row['id']} occurs twice")
    except ValueError as error:
      shown = f" (id {row['id']!r:.60})" if isinstance(row, dict) and "id" in row else ""
      report(Fault("image" if section == "images" else "annotation",
                   f"{name}: item {index} of {section!r}{shown}: {error}"))
    else:
      seen.add(row["id"])
      yield row


def _names_of_ids(rows):
  """Returns {image id: the file names that have it}."""
  names = {}
  for row in rows:
    if isinstance(row, dict) and schema.is_integer(row.get("id")):
      names.setdefault(row["id"], {})[str(row.get("file_name"))] = None
  return names


def _check_names(categories, name):
  by_name = {}
  for row in categories.values():
    try:
      schema.check_text(row, "name")
    except ValueError as error:
      raise ValueError(f"{name}: category {row['id']}: {error}") from None
    same = by_name.setdefault(row["name"].strip(), row)
    if same is not row:
      spaces = "" if same["name"] == row["name"] else ", but for spaces around it"
      raise ValueError(f"{name}: categories {same['id']} and {row['id']} are both called "
                       f"{row['name'].strip()!r}{spaces}")
