"""mnc import-weights: a file becomes a workdir that the other commands take."""

import json
import pickle

import jax
import numpy as np
import pytest

from helpers import tiny
from mnc_jax import cli, weights
from mnc_jax.cli import import_weights
from mnc_jax.config.serialization import to_json
from mnc_jax.model.parameters import init_params
from mnc_jax.training import checkpoint
from mnc_jax.training.trained_model import load

CONFIG = '''
import sys
sys.path.insert(0, {tests!r})
from helpers import tiny

def get_config():
  return tiny.tiny_config(model={{"num_categories": 0}}, data={{"dataset": "shapes"}})
'''
NAMES = ("disc", "square")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A folder with a config file and a model of two categories."""
  folder = tmp_path_factory.mktemp("import")
  (folder / "config.py").write_text(CONFIG.format(tests=str(tiny.__file__).rpartition("/")[0]))
  (folder / "names.txt").write_text("disc\n\nsquare\n")
  config = tiny.tiny_config()
  params = jax.jit(lambda: init_params(jax.random.key(3), config))()
  weights.save_safetensors(folder / "model.safetensors", params, {
      "config": to_json(config), "category_names": json.dumps(NAMES),
      "category_ids": json.dumps([4, 9])})
  return folder


def run_import(place, capsys, *arguments, source="model.safetensors", output="out"):
  """Runs the command in this process; returns its status and all it printed."""
  status = 0
  try:
    cli.run("import-weights", arguments=[
        str(place / source), "--config", str(place / "config.py"), "--output", str(place / output),
        *map(str, arguments)])
  except SystemExit as stopped:
    status = stopped.code
  captured = capsys.readouterr()
  return status, f"{captured.out}{captured.err}{status}"


def test_our_own_file_becomes_a_checkpoint_bit_by_bit_and_checks_itself(place, capsys):
  status, text = run_import(place, capsys)
  assert status == 0, text
  assert "0 newly initialised, 0 of the file unused" in text
  model = load(place / "out")
  expected, _ = weights.load_safetensors(place / "model.safetensors")
  jax.tree.map(np.testing.assert_array_equal, model.params, expected)
  assert (model.category_names, model.category_ids) == (NAMES, (4, 9))
  assert model.config.model.num_categories == 3
  assert model.notes["source"].endswith(": model.safetensors")
  cli.call("predict", ["--workdir", str(place / "out"), "--self-check"])
  assert "Self-check passed" in capsys.readouterr().out
  # What is there already is not lost.
  status, text = run_import(place, capsys)
  assert "already has checkpoints, the last of step 0: give another folder" in text


def test_options_that_change_what_our_own_model_sees_are_listed(place, capsys):
  with pytest.warns(UserWarning, match="model.safetensors was trained and used with") as found:
    run_import(place, capsys, "--data.short-side", "48", "--inference.nms-iou", "0.4",
               "--train.num-steps", "7", output="other")
  text, before = str(found[0].message), tiny.tiny_config()
  assert f"  data.short_side: {before.data.short_side} -> 48\n" in text
  assert f"  inference.nms_iou: {before.inference.nms_iou} -> 0.4\n" in text
  assert "num_steps" not in text


def test_other_categories_are_rejected_unless_they_are_reset(place, capsys):
  (place / "four.txt").write_text("a\nb\nc\nd\n")
  arguments = ("--categories", place / "four.txt")
  status, text = run_import(place, capsys, *arguments, output="four")
  assert status != 0
  assert "has 3 categories (background included), but the model has 5" in text
  assert "Traceback" not in text
  status, text = run_import(place, capsys, *arguments, "--reset-categories", output="four")
  assert status == 0, text
  assert "6 newly initialised (category_stage)" in text
  params, _, categories, _ = checkpoint.load_run(place / "four")
  assert params["category_stage"]["box_deltas"]["bias"].shape == (20,)
  assert categories == checkpoint.Categories(("a", "b", "c", "d"), (1, 2, 3, 4))
  # Without names on the command line those of the data set count: five drawn shapes.
  status, text = run_import(place, capsys, "--reset-categories", output="five")
  assert status == 0, text
  assert len(checkpoint.load_run(place / "five")[2].category_names) == 5


def test_a_coco_file_gives_names_with_their_ids(place, capsys):
  (place / "coco.json").write_text(json.dumps({
      "images": [], "annotations": [],
      "categories": [{"id": 4, "name": "disc"}, {"id": 9, "name": "square"}]}))
  found = import_weights.read_names(place / "coco.json")
  assert found == checkpoint.Categories(NAMES, (4, 9))


@pytest.mark.parametrize("name, encoding", [("coco.JSON", "utf-8"), ("names.txt", "utf-8-sig")])
def test_names_are_read_from_any_file_that_holds_them(tmp_path, name, encoding):
  text = {"coco.JSON": json.dumps({"images": [], "annotations": [], "categories": [
      {"id": 1, "name": "disc"}, {"id": 2, "name": "square"}]}), "names.txt": "disc\nsquare\n"}
  (tmp_path / name).write_text(text[name], encoding)
  assert import_weights.read_names(tmp_path / name) == checkpoint.Categories(NAMES, (1, 2))


def test_a_file_without_the_frozen_backbone_is_an_error(place, capsys):
  model = tiny.tiny_config(model={"backbone": "vgg16", "frozen_blocks": 2})
  heads = {name: stage for name, stage in tiny.random_params(model).items() if name != "features"}
  weights.save_safetensors(place / "heads.safetensors", heads, {})
  status, text = run_import(
      place, capsys, "--model.backbone", "vgg16", "--categories", place / "names.txt",
      source="heads.safetensors", output="heads")
  assert status != 0
  assert "heads.safetensors lacks 8 arrays of frozen layers, such as features/conv1_1/" in text
  assert not (place / "heads").exists()


def test_the_backbone_alone(place, capsys):
  status, text = run_import(place, capsys, "--only-backbone", "--inference.nms-iou", "0.4",
                            output="backbone")
  assert status == 0, text
  params, _, _, _ = checkpoint.load_run(place / "backbone")
  expected, _ = weights.load_safetensors(place / "model.safetensors")
  jax.tree.map(np.testing.assert_array_equal, params["features"], expected["features"])
  assert (params["box_stage"]["conv"]["kernel"] != expected["box_stage"]["conv"]["kernel"]).any()


@pytest.mark.parametrize("source, arguments, message", [
    ("none.pth", (), "none.pth: no such file"),
    ("weights.pkl", (), "weights.pkl is a pickle, which could run any code"),
    ("names.txt", (), "names.txt is not a weight file"),
    ("model.safetensors", ("--categories", "missing.txt"), "missing.txt: no such file"),
    ("model.safetensors", ("--categories", "{place}/twice.txt"), "the name 'disc' appears twice"),
    ("model.safetensors", ("--model.dense-width", "48"), "has category_stage/"),
    ("model.safetensors", ("--reset-categories", "--data.dataset", "coco"),
     "the category names are unknown"),
])
def test_mistakes_are_reported_and_leave_nothing(place, capsys, source, arguments, message):
  (place / "weights.pkl").write_bytes(pickle.dumps({"conv1_1": np.zeros(3)}))
  (place / "twice.txt").write_text("disc\ndisc\n")
  status, text = run_import(
      place, capsys, *(str(a).format(place=place) for a in arguments), source=source, output="bad")
  assert status != 0
  assert message in text
  assert "Traceback" not in text
  assert not (place / "bad").exists()
