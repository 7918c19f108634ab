"""Models by name, file and workdir."""

import json
import pathlib
import re

import jax
import numpy as np
import pytest

from helpers import tiny
from mnc_jax import weights
from mnc_jax.config.serialization import to_json
from mnc_jax.data.readers.label_maps import read_label_map
from mnc_jax.training import checkpoint
from mnc_jax.training.trained_model import load, sample_images, shipped_models

PRETRAINED = pathlib.Path(weights.__file__).parents[1] / "pretrained"


def write_model(path, *, names=("cat", "dog")):
  config = tiny.tiny_config()
  params = tiny.random_params(config)
  weights.save_safetensors(path, params, {
      "config": to_json(config), "category_names": json.dumps(names), "category_ids": "[3, 7]",
      "notes": json.dumps({"source": "a test"})})
  return params


def test_shipped_models_are_the_files_of_the_package():
  assert list(shipped_models()) == sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))
  model = load("shapes")
  expected, _ = weights.load_safetensors(PRETRAINED / "shapes.safetensors")
  jax.tree.map(np.testing.assert_array_equal, model.params, expected)
  assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(model.params))
  assert model.category_ids == (1, 2, 3, 4, 5)


def test_a_shipped_model_by_a_path_that_is_nowhere_else(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert load(pathlib.Path("shapes")).category_names[0] == "disc"


def test_a_file_by_path_text_and_home(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  params = write_model(tmp_path / "mine.safetensors")
  for name in (tmp_path / "mine.safetensors", str(tmp_path / "mine.safetensors"),
               "~/mine.safetensors"):
    model = load(name)
    jax.tree.map(np.testing.assert_array_equal, model.params, params)
    assert model[1:] == (tiny.tiny_config(), ("cat", "dog"), (3, 7), {"source": "a test"})


def test_a_workdir(tmp_path):
  params = write_model(tmp_path / "mine.safetensors")
  checkpoint.save_model(tmp_path / "run", params, tiny.tiny_config(), checkpoint.Categories(
      ("cat", "dog"), (3, 7)), notes={"source": "a test"})
  model = load(tmp_path / "run")
  jax.tree.map(np.testing.assert_array_equal, model.params, params)
  assert model[1:] == (
      tiny.tiny_config(), ("cat", "dog"), (3, 7), {"source": "a test", "step": 0})


def test_a_shipped_name_goes_before_a_folder_which_is_said(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  pathlib.Path("shapes").mkdir()
  with pytest.warns(UserWarning, match=r"shapes is the shipped model, .* write ./shapes for that"):
    assert load("shapes").category_names[0] == "disc"
  for folder in ("./shapes", pathlib.Path("shapes")):
    with pytest.raises(FileNotFoundError, match="config.json"):
      load(folder)


@pytest.mark.parametrize(("name", "message"), [
    ("shaps", "shaps: no such file or folder, .* Did you mean 'shapes'.* Shipped: 'nuclei', "
     "'shapes'; or .* path of a .safetensors file or of a workdir of mnc train"),
    ("resnet50", r"no shipped model of this name\. Shipped"),
    ("~/none", "HOME/none: no such file or folder"),
    ("none.safetensors", "none.safetensors: no such file")])
def test_an_unknown_name_lists_the_shipped_ones(name, message, tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  with pytest.raises(FileNotFoundError, match=message.replace("HOME", str(tmp_path))):
    load(name)


def test_files_that_are_no_model(tmp_path, monkeypatch):
  (tmp_path / "weights.pth").touch()
  (tmp_path / "mine.zip").write_bytes(b"PK")
  with pytest.raises(ValueError, match=r"mine.zip: programs of mnc export only run"):
    load(tmp_path / "mine.zip")
  with pytest.raises(ValueError, match=r"weights.pth is neither a workdir .*mnc import-weights"):
    load(tmp_path / "weights.pth")
  weights.save_safetensors(tmp_path / "bare.safetensors", {"a": np.zeros(2, np.float32)}, {})
  monkeypatch.setattr(weights, "load_safetensors", None)  # No array need be read for that.
  with pytest.raises(ValueError, match=(
      "bare.safetensors holds weights, but no config or no cat.*other libraries .*import-w")):
    load(tmp_path / "bare.safetensors")


def test_sample_images_are_held_out_and_have_label_images():
  paths = sample_images("nuclei")
  folder = paths[0].parents[1]
  counts = {path.stem: len(np.unique(read_label_map(folder / "labels" / path.name))) - 1
            for path in paths}
  assert counts == {"small_nuclei": 91, "stained_tissue": 18, "touching_nuclei": 76}
  assert not {path.stem for path in paths} & set((folder / "train.txt").read_text().split())
  card = (folder / "README.md").read_text()
  for name, count in counts.items():
    assert re.search(rf"\| {name}\.png .*\| {count} \|", card)


def test_samples_of_a_model_without_any_and_of_none():
  assert sample_images("shapes") == ()
  with pytest.raises(ValueError, match="'nucle'; shipped: nuclei, shapes"):
    sample_images("nucle")
