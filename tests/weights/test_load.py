"""Weights of a file in a model: what is loaded, what is kept, what is rejected."""

import functools
import json
import operator

from flax import traverse_util
import jax
import numpy as np
import pytest

from helpers import release_files
from helpers.tiny import override, tiny_config
from mnc_jax import weights
from mnc_jax.config.serialization import to_json
from mnc_jax.model.parameters import init_params
from mnc_jax.weights import load

CONFIG = tiny_config()
CATEGORY_LAYERS = {"category", "box_category", "box_deltas"}


def flat(tree):
  return traverse_util.flatten_dict(tree, sep="/")


@functools.cache
def traced_shapes(config):
  return jax.eval_shape(lambda: init_params(jax.random.key(0), config))


def shapes(config=CONFIG):
  return jax.tree.map(lambda x: x, traced_shapes(config))


def make_model(config=CONFIG):
  """The parameters of a whole cascade, as noise."""
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes(config))


@pytest.fixture
def model_file(tmp_path):
  weights.save_safetensors(tmp_path / "model", make_model(), {})
  return tmp_path / "model"


def put(path, name, array):
  """Changes one array of a file, adds it, or with None leaves it out."""
  params = flat(weights.load_safetensors(path)[0])
  params.pop(name, None)
  if array is not None:
    params[name] = array
  weights.save_safetensors(path, traverse_util.unflatten_dict(params, sep="/"), {})


def read(path, *, config=CONFIG, **options):
  return weights.load_pretrained(shapes(config), path, config=config.model, **options)


def test_a_whole_model_is_loaded_bit_by_bit(model_file):
  params, report = read(model_file)
  jax.tree.map(np.testing.assert_array_equal, params, make_model())
  assert report.initialised == report.unused == ()
  assert str(report) == (f"a model of mnc_jax: {len(flat(params))} arrays loaded, 0 newly "
                         "initialised, 0 of the file unused")


def test_stages_that_the_file_lacks_are_kept_and_others_are_unused(tmp_path):
  model = make_model()
  weights.save_safetensors(tmp_path / "x", {
      "box_stage": model["box_stage"], "old_stage": {"x": np.zeros(2, np.float32)}}, {})
  given = jax.tree.map(np.zeros_like, model)
  params, report = weights.load_pretrained(given, tmp_path / "x", config=CONFIG.model)
  jax.tree.map(np.testing.assert_array_equal, params["box_stage"], model["box_stage"])
  assert {name.split("/")[0] for name in report.initialised} == {
      "features", "mask_stage", "category_stage"}
  assert report.unused == ("old_stage/x",)
  assert "1 of the file unused (old_stage)" in str(report)
  # The given tree is not changed, and its leaves are kept.
  assert not any(leaf.any() for leaf in jax.tree.leaves(given))
  assert params["mask_stage"]["mask"]["bias"] is given["mask_stage"]["mask"]["bias"]


@pytest.mark.parametrize("name, array, message", [
    ("mask_stage/mask/bias", None, "model lacks mask_stage/mask/bias, which the model has"),
    ("mask_stage/conv1/bias", np.zeros(2), "model has mask_stage/conv1/bias, which the model does "
     "not have: use the config that it was trained with"),
    ("box_stage/conv/bias", np.zeros(5),
     r"model has box_stage/conv/bias with shape \(5,\), but the model's has shape \(16,\)")])
def test_other_layers_and_shapes_are_rejected(model_file, name, array, message):
  put(model_file, name, array)
  with pytest.raises(ValueError, match=message):
    read(model_file)


def test_the_backbone_of_a_model_can_be_loaded_alone(model_file):
  put(model_file, "mask_stage/mask/bias", None)
  params, report = read(model_file, only_backbone=True)
  assert {name.split("/")[0] for name in report.loaded} == {"features"}
  assert "mask_stage/mask/kernel" in report.unused
  assert isinstance(params["mask_stage"]["mask"]["kernel"], jax.ShapeDtypeStruct)


def test_other_categories_are_rejected_with_both_counts(model_file):
  config = override(CONFIG, model={"num_categories": 5})
  with pytest.raises(ValueError, match=(
      r"has 3 categories \(background included\), but the model has 5. .*--reset-categories")):
    read(model_file, config=config)
  # Where only the deltas differ.
  put(model_file, "category_stage/category/kernel", np.zeros((64, 5)))
  for layer, part, shape in (("category", "bias", 5), ("box_category", "kernel", (64, 5)),
                             ("box_category", "bias", 5)):
    put(model_file, f"category_stage/{layer}/{part}", np.zeros(shape))
  with pytest.raises(ValueError, match="has 3 categories .* the model has 5"):
    read(model_file, config=config)


@pytest.mark.parametrize("count", [3, 5])
def test_categories_can_be_reset(model_file, count):
  params, report = read(
      model_file, config=override(CONFIG, model={"num_categories": count}), reset_categories=True)
  assert {name.split("/")[1] for name in report.initialised} == CATEGORY_LAYERS
  assert len(report.initialised) == len(report.unused) == 6
  np.testing.assert_array_equal(params["category_stage"]["fc7"]["kernel"],
                                make_model()["category_stage"]["fc7"]["kernel"])


def test_another_backbone_is_rejected(tmp_path):
  weights.save_safetensors(tmp_path / "x", make_model(), {
      "config": json.dumps({"model": {"backbone": "small"}})})
  with pytest.raises(ValueError, match='with model.backbone "small", but here it is "vgg16"'):
    read(tmp_path / "x", config=override(CONFIG, model={"backbone": "vgg16"}))


def test_a_model_without_a_mean_keeps_that_of_the_config(tmp_path):
  config = override(CONFIG, model={"backbone": "vgg16"})
  model = make_model(config)
  del model["features"]["pixel_mean"], model["features"]["pixel_scale"]
  weights.save_safetensors(tmp_path / "x", model, {})
  params, report = read(tmp_path / "x", config=config)
  assert set(report.initialised) == {"features/pixel_mean", "features/pixel_scale"}
  params = weights.initialise_missing(params, jax.random.key(0), config)
  np.testing.assert_allclose(
      params["features"]["pixel_mean"], config.model.pixel_mean_bgr, rtol=1e-6)


def test_a_file_of_another_network_is_rejected(tmp_path):
  weights.save_safetensors(tmp_path / "x", {"blocks.0.attn.qkv": np.zeros(2, np.float32)}, {})
  with pytest.raises(ValueError, match=(
      r"x \(safetensors\) holds neither a known ImageNet model .* but blocks.0.attn")):
    read(tmp_path / "x")


def test_a_file_without_a_backbone_is_rejected_if_that_is_requested(tmp_path):
  weights.save_safetensors(tmp_path / "x", {"box_stage": make_model()["box_stage"]}, {})
  with pytest.raises(ValueError, match="none of the requested parameters; it holds box_stage"):
    read(tmp_path / "x", only_backbone=True)


def test_an_array_at_two_paths_is_read_once():
  times = []
  lazy = weights.Lazy((2,), lambda: times.append(1) or np.ones(2, np.float32))
  found = load._read_each_once(None, {"a": lazy, "b": lazy, "c": lazy._replace(shape=(2,))})
  assert len(times) == 2
  assert found["a"] is found["b"]
  assert found["a"] is not found["c"]


def test_missing_leaves_get_the_values_of_init_params():
  config = override(CONFIG, model={"backbone_widths": (8, 16)})
  fresh = jax.jit(lambda key: init_params(key, config))(jax.random.key(3))
  zeros = jax.tree.map(np.zeros_like, make_model(config)["mask_stage"])
  params = weights.initialise_missing(
      {**shapes(config), "mask_stage": zeros}, jax.random.key(3), config)
  assert not any(leaf.any() for leaf in jax.tree.leaves(params.pop("mask_stage")))
  del fresh["mask_stage"]
  jax.tree.map(np.testing.assert_array_equal, params, fresh)
  assert jax.tree.reduce(operator.or_, jax.tree.map(lambda x: bool(np.any(x)), params))


@pytest.mark.parametrize(("flags", "options"), [
    ("", {"xla_backend_optimization_level": 1}), ("--xla_backend_optimization_level=0", None)])
def test_initial_weights_compile_quickly_to_the_bits_of_the_default(flags, options, monkeypatch):
  chosen, jit = [], jax.jit
  default = jit(lambda key: init_params(key, CONFIG)["box_stage"],
                compiler_options={"xla_backend_optimization_level": 3})(jax.random.key(3))
  monkeypatch.setenv("XLA_FLAGS", flags)
  monkeypatch.setattr(load.jax, "jit", lambda draw, compiler_options: chosen.append(
      compiler_options) or jit(draw, compiler_options=compiler_options))
  load._draw.cache_clear()
  params = weights.initialise_missing(
      {**make_model(), "box_stage": shapes()["box_stage"]}, jax.random.key(3), CONFIG)
  load._draw.cache_clear()
  assert chosen == [options]
  if options:
    jax.tree.map(np.testing.assert_array_equal, params["box_stage"], default)


def test_nothing_is_initialised_where_nothing_is_missing(monkeypatch):
  model = make_model()
  monkeypatch.setattr(load, "init_params", None)
  assert weights.initialise_missing(model, jax.random.key(0), CONFIG) is model


def test_long_lists_of_names_are_shortened():
  report = weights.LoadReport("x", (), (), tuple(f"layer{n}.0.weight" for n in range(20)))
  assert str(report).endswith("20 of the file unused (layer0.0, layer1.0, layer10.0, layer11.0, "
                              "layer12.0, layer13.0, layer14.0, layer15.0 and 12 more)")


def test_unshared_backbones_all_begin_with_the_one_of_the_file(tmp_path):
  shared, unshared = (tiny_config(model={"share_features": choice}) for choice in (True, False))
  params = make_model(shared)
  weights.save_safetensors(tmp_path / "one", params, {})
  loaded, report = weights.load_pretrained(
      shapes(unshared), tmp_path / "one", config=unshared.model)
  assert report.initialised == ()
  for name in ("features", "mask_features", "category_features"):
    jax.tree.map(np.testing.assert_array_equal, loaded[name], params["features"])


def test_backbones_of_single_stages_do_not_fit_a_shared_one(tmp_path):
  """The heads would run on the features of another stage."""
  shared, unshared = (tiny_config(model={"share_features": choice}) for choice in (True, False))
  weights.save_safetensors(tmp_path / "three", make_model(unshared), {})
  with pytest.raises(ValueError, match="has category_features, mask_features: it was trained with "
                                       "model.share_features False, but here it is True"):
    read(tmp_path / "three", config=shared)
  loaded, _ = read(tmp_path / "three", config=shared, only_backbone=True)
  jax.tree.map(np.testing.assert_array_equal, loaded["features"], make_model(unshared)["features"])


def test_samples_of_a_cell_are_those_of_the_file(tmp_path):
  """No shape depends on them, but every number does."""
  write_model(tmp_path / "model", ["cat", "dog"], roi_pool=1)
  with pytest.raises(ValueError, match="was trained with model.roi_pool 1, but here it is 2"):
    read(tmp_path / "model", config=override(CONFIG, model={"roi_pool": 2}))


def test_convolutional_heads_of_another_size_are_rejected(tmp_path):
  """All shapes agree, where sizes of masks and RoIs are in proportion."""
  model = {"mask_head": "conv", "normalize": True, "backbone": "resnet26", "resnet_width": 8}
  write_model(tmp_path / "model", ["cat", "dog"], **model, roi_size=4, mask_size=8)
  other = override(CONFIG, model=model | {"roi_size": 8, "mask_size": 16})
  with pytest.raises(ValueError, match="was trained with model.roi_size 4, but here it is 8"):
    read(tmp_path / "model", config=other)
  read(tmp_path / "model", config=other, only_backbone=True)


def test_a_backbone_that_does_not_fit_names_the_fields_that_differ(tmp_path):
  """Not the option that was given."""
  model = {"backbone": "resnet26", "resnet_width": 8}
  write_model(tmp_path / "model", ["cat", "dog"], **model)
  pyramid = override(CONFIG, model=model | {"pyramid_stride": 8, "pyramid_width": 4})
  wide = override(CONFIG, model=model | {"resnet_width": 16})
  for config, field in ((pyramid, r"model.pyramid_stride \(0 there, 8 here\)"),
                        (wide, r"model.resnet_width \(8 there, 16 here\)$")):
    with pytest.raises(ValueError, match=field) as error:
      read(tmp_path / "model", config=config, only_backbone=True)
    assert "only-backbone" not in str(error.value)


def test_the_backbone_of_the_release_goes_into_another_model(tmp_path):
  release_files.write_h5(tmp_path / "x", release_files.random_layers(dense=4, hidden=4))
  config = override(CONFIG, model={"backbone": "vgg16", "pyramid_stride": 8, "pyramid_width": 4})
  with pytest.raises(ValueError, match="needs model.normalize False"):
    read(tmp_path / "x", config=config)
  _, report = read(tmp_path / "x", config=config, only_backbone=True)
  assert len(report.loaded) == 28
  assert str(report).endswith("; pixels: BGR, 0 to 255, the release's mean")


def test_an_array_at_two_paths_is_moved_to_the_device_once():
  one, other = np.arange(3.0, dtype=np.float32), np.ones(2, np.float32)
  moved = weights.move_to_device({"a": {"b": one, "c": other}, "d": one})
  assert moved["d"] is moved["a"]["b"]
  assert isinstance(moved["a"]["c"], jax.Array)
  np.testing.assert_array_equal(moved["d"], one)


def write_model(path, names, **model):
  config = override(CONFIG, model=model)
  weights.save_safetensors(path, make_model(config), {
      "config": to_json(config), "category_names": json.dumps(names), "category_ids": "[1, 2]"})


def test_a_saved_model_with_other_scales_of_deltas_is_rejected(tmp_path):
  write_model(tmp_path / "x", ["a", "b"], box_delta_stds=(1.0, 1.0, 1.0, 1.0))
  with pytest.raises(ValueError, match="was trained with model.box_delta_stds"):
    weights.load_pretrained(shapes(), tmp_path / "x", config=CONFIG.model)
  # The backbone does not depend on it.
  weights.load_pretrained(shapes(), tmp_path / "x", config=CONFIG.model, only_backbone=True)


def test_other_categories_of_the_same_number_are_rejected_unless_reset(tmp_path):
  write_model(tmp_path / "x", ["cat", "dog"])
  load = lambda names, **options: weights.load_pretrained(
      shapes(), tmp_path / "x", config=CONFIG.model, category_names=names, **options)[1]
  assert load(("cat", "dog")).initialised == ()
  with pytest.raises(ValueError, match="the model has 2; number 2 is 'dog' in the first and 'cow'"):
    load(("cat", "cow"))
  assert len(load(("cat", "cow"), reset_categories=True).initialised) == 6


def test_names_and_ids_of_categories_must_fit(tmp_path):
  saved = {"category_names": '["a", "b"]', "category_ids": "[1, 2]"}
  assert weights.read_categories(saved, "x") == (("a", "b"), (1, 2))
  assert weights.read_categories({}, "x") is None
  with pytest.raises(ValueError, match="x has 2 category_names but 1 category_ids"):
    weights.read_categories(saved | {"category_ids": "[1]"}, "x")
  for broken in ({"category_ids": "many"}, {"category_names": "cat, dog"}, {"category_ids": "3"}):
    with pytest.raises(ValueError, match="x has no usable category_names and category_ids"):
      weights.read_categories(saved | broken, "x")


def test_notes_are_an_object():
  assert weights.read_notes({"notes": '{"source": "x"}'}, "file") == {"source": "x"}
  assert weights.read_notes({}, "file") == {}
  for broken in ("[1]", "{broken"):
    with pytest.raises(ValueError, match="file: its notes are not (a )?JSON"):
      weights.read_notes({"notes": broken}, "file")


@pytest.mark.parametrize("config", ["{broken", '{"model": {"no_such_field": 1}}'])
def test_a_config_in_a_file_that_cannot_be_read_is_reported_with_the_file(tmp_path, config):
  weights.save_safetensors(tmp_path / "x", make_model(), {"config": config})
  with pytest.raises(ValueError, match="x: its config cannot be read: "):
    weights.load_pretrained(shapes(), tmp_path / "x", config=CONFIG.model)


def test_numbers_that_are_not_finite_are_rejected_by_name(tmp_path):
  model = make_model()
  model["mask_stage"]["mask"]["bias"][3] = np.nan
  weights.save_safetensors(tmp_path / "x", model, {})
  with pytest.raises(ValueError, match="x: mask_stage/mask/bias has values that are not finite"):
    weights.load_pretrained(shapes(), tmp_path / "x", config=CONFIG.model)
