"""`import mnc_jax`, and from there: its names and packages, and load, detect and draw."""

import ast
import configparser
import inspect
import pathlib
import subprocess
import sys

import pytest

import mnc_jax
from mnc_jax.data.readers.drawing import draw_image

ROOT = pathlib.Path(__file__).resolve().parents[1]


def imports_for_tools():
  """Returns {name: module} of the imports in `mnc_jax/__init__.py` that only type checkers see."""
  tree = ast.parse(inspect.getsource(mnc_jax))
  block = next(node for node in tree.body if isinstance(node, ast.If))
  return {alias.name: node.module for node in block.body for alias in node.names}


def test_type_checkers_see_the_names_that_are_imported_when_used():
  seen = imports_for_tools()
  names = {name: f"mnc_jax.{module}" for name, module in mnc_jax._NAMES.items()}
  assert {name: seen[name] for name in names} == names
  assert seen.keys() - names.keys() == mnc_jax._PACKAGES.keys()
  assert sorted(names) == sorted(mnc_jax.__all__)


def test_every_name_is_found_in_a_new_process():
  statements = "import mnc_jax; " + "; ".join(
      f"mnc_jax.{name}" for name in (
          *mnc_jax.__all__, "visualize.draw_instances", "data.read_image", "metrics.score_results",
          "parallel.gather", "weights.load_safetensors", "config.ModelConfig", "ops.nms.nms",
          "configs.get", "structs.Batch", "evaluation", "training", "model"))
  for statement in (statements, "from mnc_jax import *; nms, Config, detect"):
    subprocess.run([sys.executable, "-c", statement], check=True, cwd=ROOT)


def test_an_unknown_name_is_an_error_and_known_ones_are_listed():
  with pytest.raises(AttributeError, match="'mnc_jax' has no attribute 'segment'"):
    mnc_jax.segment  # noqa: B018
  assert {"load", "metrics", "nms", "__version__"} <= set(dir(mnc_jax))


def test_the_version_is_that_of_the_package():
  setup = configparser.ConfigParser()
  setup.read(ROOT / "setup.cfg")
  assert setup["metadata"]["version"] == "attr: mnc_jax.__version__"
  assert mnc_jax.__version__.count(".") == 2


def test_three_lines_find_the_shapes_of_a_drawing():
  drawing = draw_image(9, 1)
  model = mnc_jax.load("shapes")
  found = mnc_jax.detect(model, drawing.image, min_score=0.9)
  picture = mnc_jax.draw(drawing.image, found)
  assert isinstance(model, mnc_jax.Model)
  assert isinstance(found, mnc_jax.Detections)
  # Four shapes of four categories, each found once; confusions of two of them score less.
  assert sorted(found.labels) == sorted(drawing.labels)
  masks = found.masks[[found.labels.tolist().index(label) for label in drawing.labels]]
  iou = (masks & drawing.masks).sum((1, 2)) / (masks | drawing.masks).sum((1, 2))
  assert iou.min() > 0.7
  assert picture.shape == drawing.image.shape
  assert (picture != drawing.image).any(-1)[found.masks.any(0)].mean() > 0.95
