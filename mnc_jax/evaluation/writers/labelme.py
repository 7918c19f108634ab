"""labelme/NAME.json: polygons to correct by hand in labelme, beside a copy of their image.

The folder can be opened in labelme, and prepared for training as it is.
"""

from collections.abc import Iterator
import contextlib
import json
import pathlib
from typing import Any

from mnc_jax.data.images import encode_png
from mnc_jax.evaluation.writers.found import FormatError, Found, Target, Writer
from mnc_jax.evaluation.writers.outlines import outline_mask

FOLDER = "labelme"
_VERSION = "5.5.0"  # Of labelme, whose format this is.


def list_files(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
  """Returns the annotation file of an image called `name`."""
  return [folder / FOLDER / f"{name}.json"]


@contextlib.contextmanager
def open_writer(target: Target) -> Iterator[Writer]:
  """Yields a function that writes the polygons of an image, and copies the image."""
  (target.folder / FOLDER).mkdir(parents=True, exist_ok=True)
  def write(found: Found) -> None:
    image = _copy_image(found, target)
    (path,) = list_files(target.folder, found.name)
    path.write_bytes(json.dumps(
        describe_image(found, image, target.category_names), indent=1).encode())
  yield write


def _copy_image(found, target):
  """Writes the image beside its annotations, and returns its file name."""
  if target.keep_files and found.path is not None:
    name, content = found.path.name, found.path.read_bytes()
  else:
    name, content = f"{found.name}.png", encode_png(found.pixels)
  copy = target.folder / FOLDER / name
  if not copy.exists():
    copy.write_bytes(content)
  elif copy.read_bytes() != content:
    raise FormatError(f"{copy} is another image of that name: give another --output")
  return name


def describe_image(found: Found, image_name: str, category_names: dict[int, str]
                   ) -> dict[str, Any]:
  """Returns the content of labelme's file of an image.

  Args:
    found: the image.
    image_name: its file, in the folder of the file.
    category_names: {category id: name}.
  """
  shapes = [shape for number, record in enumerate(found.confident, 1)
            for shape in _make_shapes(record, number, category_names)]
  height, width = found.pixels.shape[:2]
  return {"version": _VERSION, "flags": {}, "shapes": shapes, "imagePath": image_name,
          "imageData": None, "imageHeight": height, "imageWidth": width}


def _make_shapes(record, number, category_names):
  """Returns a shape for each part; parts of one instance share its number as their group."""
  polygons = outline_mask(record["segmentation"])
  return [{"label": category_names[record["category_id"]],
           "points": [[round(float(x), 2), round(float(y), 2)] for x, y in polygon],
           "group_id": number if len(polygons) > 1 else None,
           "description": f"instance {number}, score {record['score']:.3f}",
           "shape_type": "polygon", "flags": {}} for polygon in polygons]
