"""Shipped configs: found by name, fit the library, and the shipped weights fit their config."""

import json
import pathlib
import re

from flax import traverse_util
import jax
import pytest

from mnc_jax import configs, weights
from mnc_jax.config import paper, release, with_categories
from mnc_jax.config.serialization import differing_fields, from_json, to_json
from mnc_jax.config.validation import check_effects, check_values
from mnc_jax.model.parameters import init_params
from mnc_jax.weights.self_check import compare_numbers

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "mnc_jax" / "configs").glob("[!_]*.py"))


def shapes_of(config):
  tree = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
  return {path: leaf.shape for path, leaf in traverse_util.flatten_dict(tree, sep="/").items()}


@pytest.mark.parametrize("name", configs.names())
def test_config_builds_a_model_and_survives_json(name):
  config = configs.get(name)
  assert from_json(to_json(config)) == config
  check_values(config)
  check_effects(config)
  shapes = shapes_of(with_categories(config, ("a", "b", "c")))
  assert shapes["category_stage/category/bias"] == (4,)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_header_gives_paper_command_and_score(path):
  header = path.read_text().split('"""')[1]
  entries = dict(re.findall(r"^([A-Z][a-z]+): +(.+)", header, re.MULTILINE))
  assert list(entries) == ["Paper", "Data", "Command", "Hardware", "Expected", "Score"]
  assert re.search(r"not yet run|\.\d{3} .*(\n.*)?\(20\d\d-\d\d-\d\d\)", header)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_sgd_on_fresh_dense_layers_starts_gently(path):
  """Without warm-up and clipping the documented start on VGG-16 was NaN at step 13."""
  config = configs.get(path.stem)
  if config.model.backbone != "small" and not config.model.normalize:
    assert config.train.warmup_steps >= 500
    assert config.train.clip_norm == 10


def test_configs_of_the_paper_and_the_release_are_the_presets():
  for name, preset, changed in (("voc_vgg16_mnc5", paper(), {"model.box_gradient_clip"}),
                                ("voc_vgg16_release", release(), set())):
    found = {field for field, *_ in differing_fields(preset, configs.get(name))}
    assert found == changed | {"data.num_workers", "train.checkpoint_every",
                               "train.warmup_steps", "train.clip_norm"}


def test_names_are_those_of_the_modules_and_presets():
  assert configs.names() == tuple(sorted([*(path.stem for path in CONFIGS), "paper", "release"]))
  assert (configs.get("paper"), configs.get("release")) == (paper(), release())
  assert configs.get("shapes").train.num_steps == 700


def test_an_unknown_name_lists_the_shipped_ones():
  with pytest.raises(ValueError, match=r"'shape'. Did you mean shapes\? Shipped are: coco_"):
    configs.get("shape")
  names = "photographs, release, shapes, shapes_long"
  with pytest.raises(ValueError, match=f"'x'. Shipped are: .*, paper, {names}"):
    configs.get("x")


@pytest.mark.parametrize(("name", "config", "categories"), [
    ("shapes", "shapes_long", ["disc", "square", "triangle", "star", "ring"]),
    ("nuclei", "nuclei", ["object"])])
def test_shipped_weights_are_small_and_fit_their_config(name, config, categories):
  path = ROOT / "mnc_jax" / "pretrained" / f"{name}.safetensors"
  assert path.stat().st_size <= 5e6
  params, metadata = weights.load_safetensors(path)
  found = {name: leaf.shape for name, leaf in traverse_util.flatten_dict(params, sep="/").items()}
  saved = from_json(metadata["config"])
  assert found == shapes_of(saved)
  assert json.loads(metadata["category_names"]) == categories
  # But for the number of categories, which is known with the data, it is the config's own model.
  changed = {field for field, *_ in differing_fields(configs.get(config), saved)}
  assert {field for field in changed if field.startswith("model.")} == {"model.num_categories"}
  assert saved.data.data_dir == "data"
  deviations = compare_numbers(params, saved, json.loads(metadata["notes"])["self_check"])
  assert max(deviations.values()) < 1e-3
