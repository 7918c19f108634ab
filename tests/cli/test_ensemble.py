"""mnc predict and evaluate with --ensemble: several models that vote together."""

import json

import cv2
import jax
import numpy as np
import pytest

from helpers import tiny
from mnc_jax import cli, weights
from mnc_jax.cli import evaluate
from mnc_jax.config.serialization import to_json
from mnc_jax.evaluation import predict_image
from mnc_jax.model.parameters import init_params


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A folder with one photograph and models as files, two of which go together."""
  folder = tmp_path_factory.mktemp("ensemble")
  picture = np.full((64, 64, 3), 30, np.uint8)
  picture[10:40, 20:45] = 220
  cv2.imwrite(str(folder / "photograph.png"), picture)
  small = {"dense_width": 16}
  save(folder / "first.safetensors", tiny.tiny_config(), ("cat", "dog"), seed=0)
  save(folder / "second.safetensors", tiny.tiny_config(model=small), ("cat", "dog"), seed=1)
  save(folder / "names.safetensors", tiny.tiny_config(model=small), ("cat", "cow"), seed=1)
  save(folder / "mask.safetensors", tiny.tiny_config(model={"mask_size": 16}), ("cat", "dog"),
       seed=1)
  save(folder / "contrast.safetensors", tiny.tiny_config(data={"stretch_contrast": True}),
       ("cat", "dog"), seed=1)
  save(folder / "exif.safetensors", tiny.tiny_config(data={"exif": "stored"}), ("cat", "dog"),
       seed=1)
  return folder


def save(path, config, names, *, seed):
  """Writes a model with arbitrary weights."""
  shapes = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
  rng = np.random.default_rng(seed)
  params = jax.tree.map(
      lambda x: rng.normal(scale=0.1, size=x.shape).astype(np.float32), shapes)
  weights.save_safetensors(path, params, {
      "config": to_json(config), "category_names": json.dumps(names), "category_ids": "[3, 7]"})


def run_predict(place, output, *options):
  """Runs mnc predict on the photograph; returns what it wrote."""
  cli.call("predict", ["--weights", str(place / "first.safetensors"), *map(str, options),
                "--output", str(place / output), str(place / "photograph.png"),
                "--inference.proposals.num-proposals", "12"])
  assert (place / output / "photograph.png").is_file()
  return json.loads((place / output / "instances.json").read_text())


def test_two_models_vote_and_overrides_reach_both(place, monkeypatch):
  configs = []
  predict_ensemble = predict_image.predict_ensemble
  def watch(models, *batch, **options):
    configs.append(options["configs"])
    return predict_ensemble(models, *batch, **options)
  monkeypatch.setattr(predict_image, "predict_ensemble", watch)
  predict_image._compile.cache_clear()
  alone = run_predict(place, "alone")
  together = run_predict(place, "together", "--ensemble", place / "second.safetensors")
  assert [len(one) for one in configs] == [1, 2]
  assert [one.model.dense_width for one in configs[1]] == [32, 16]
  assert [one.inference.proposals.num_proposals for one in configs[1]] == [12, 12]
  assert alone and together
  assert {record["category_id"] for record in together} <= {3, 7}
  assert [record["score"] for record in alone] != [record["score"] for record in together]


def test_ids_are_those_of_the_ground_truth(place):
  (place / "own.json").write_text(json.dumps({
      "images": [{"id": 40, "file_name": "photograph.png", "height": 64, "width": 64}],
      "annotations": [], "categories": [{"id": 0, "name": "dog"}, {"id": 1, "name": "cat"}]}))
  plain = run_predict(place, "plain")
  found = run_predict(place, "own", "--ground-truth", place / "own.json")
  new_id = {3: 1, 7: 0}
  assert found == [row | {"image_id": 40, "category_id": new_id[row["category_id"]]}
                   for row in plain]
  assert {row["category_id"] for row in found} == {0, 1}


@pytest.mark.parametrize(("member", "message"), [
    ("names", "it has 2 categories, .* has 2; number 2 is 'cow' in the first and 'dog' in"),
    ("mask", "its model.mask_size is 16, that of the first model 12"),
    ("contrast", "its data.stretch_contrast is True, that of the first model False"),
    ("exif", "its data.exif is stored, that of the first model upright")])
def test_a_model_that_cannot_join_is_named_with_the_first(place, member, message):
  path = place / f"{member}.safetensors"
  with pytest.raises(ValueError, match=message) as error:
    run_predict(place, "none", "--ensemble", place / "second.safetensors", "--ensemble", path)
  assert f"{path} cannot join {place / 'first.safetensors'} in an ensemble" in str(error.value)
  assert not (place / "none").exists()


def test_a_shipped_model_joins_by_its_name(place):
  with pytest.raises(ValueError, match="shapes cannot join .*: it has 5 categories"):
    run_predict(place, "none", "--ensemble", "shapes")


@pytest.mark.parametrize(("member", "message"), [
    ("nowhere", "nowhere: no such file or folder"),
    ("none.safetensors", "none.safetensors: no such file"),
    ("photograph.png", "photograph.png is neither a workdir nor a .safetensors file")])
def test_what_is_no_model_is_named(place, member, message):
  with pytest.raises((FileNotFoundError, ValueError), match=message):
    run_predict(place, "none", "--ensemble", place / member)


def test_evaluation_takes_several_models_too(place, monkeypatch):
  seen = []
  monkeypatch.setattr(evaluate, "load_source", lambda *arguments: None)
  for name in ("check_categories", "make_ground_truth", "check_scorable", "warn_of_limit",
               "report_tiles"):
    monkeypatch.setattr(evaluate, name, lambda *arguments, **options: None)
  monkeypatch.setattr(evaluate, "make_predict", lambda configs, mesh: seen.append(configs))
  def stop(find, params, config, source, *, find_large, beat):
    assert [one.config.model.dense_width for one in find_large.args[0]] == [32, 16]
    widths = [one["category_stage"]["fc7"]["bias"].shape[-1] for one in params]
    raise InterruptedError(f"{widths}, {config.model.dense_width}")
  monkeypatch.setattr(evaluate, "predict_all", stop)
  with pytest.raises(InterruptedError, match=r"\[32, 16\], 32"):
    cli.call("evaluate", ["--weights", str(place / "first.safetensors"), "--ensemble",
                   str(place / "second.safetensors"), "--output", str(place / "out")])
  assert [[one.model.dense_width for one in configs] for configs in seen] == [[32, 16]]
