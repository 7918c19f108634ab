import jax
import numpy as np
import pytest

from mnc_jax import weights
from mnc_jax.cascade import init_params
from tiny import tiny_config

LAYERS = [(block, layer) for block, depth in enumerate((2, 2, 3, 3, 3), start=1)
          for layer in range(1, depth + 1)]


def make_arrays(*, channels=2):
  """A VGG-16 with thin layers, as arrays under the names of the file."""
  rng = np.random.default_rng(0)
  arrays = {}
  for block, layer in LAYERS:
    arrays[f"block{block}_conv{layer}_W"] = rng.normal(
        size=(3, 3, channels, channels)).astype(np.float32)
    arrays[f"block{block}_conv{layer}_b"] = rng.normal(size=channels).astype(np.float32)
  return arrays


def make_params(*, channels=2):
  """A model with a thin VGG-16 trunk of zeros and one other parameter."""
  def layer():
    return {"kernel": np.zeros((3, 3, channels, channels), np.float32),
            "bias": np.zeros(channels, np.float32)}
  return {"features": {f"conv{block}_{number}": layer() for block, number in LAYERS},
          "box_stage": {"conv": {"bias": np.arange(3, dtype=np.float32)}}}


def make_model():
  """The parameters of a whole cascade, as noise."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(lambda: init_params(jax.random.key(0), tiny_config()))
  return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)


@pytest.fixture
def vgg_file(tmp_path):
  np.savez(tmp_path / "vgg.npz", **make_arrays())
  return tmp_path / "vgg.npz"


def assert_trees_equal(found, expected):
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    assert one.dtype == other.dtype
    np.testing.assert_array_equal(one, other)


def test_every_convolution_finds_its_place(vgg_file):
  params, report = weights.load_trunk(make_params(), vgg_file)
  for block, layer in LAYERS:
    found = params["features"][f"conv{block}_{layer}"]
    np.testing.assert_array_equal(found["kernel"], make_arrays()[f"block{block}_conv{layer}_W"])
    np.testing.assert_array_equal(found["bias"], make_arrays()[f"block{block}_conv{layer}_b"])
  np.testing.assert_array_equal(params["box_stage"]["conv"]["bias"], [0, 1, 2])
  assert len(report.loaded) == 26
  assert report.initialised == ("box_stage/conv/bias",)
  assert report.left_over == ()
  assert str(report) == (
      "26 arrays loaded, 1 newly initialised (box_stage), 0 of the file left over")


def test_the_params_given_are_not_touched(vgg_file):
  params = make_params()
  weights.load_trunk(params, vgg_file)
  assert_trees_equal(params, make_params())


def test_missing_layers_are_named(tmp_path):
  arrays = make_arrays()
  del arrays["block3_conv2_W"], arrays["block5_conv3_b"]
  np.savez(tmp_path / "vgg.npz", **arrays)
  with pytest.raises(ValueError, match="vgg.npz lacks 2 of .* block3_conv2_W, block5_conv3_b"):
    weights.load_vgg16_npz(tmp_path / "vgg.npz")


def test_wrong_shape_is_named_with_both(vgg_file):
  with pytest.raises(ValueError, match=(
      r"features/conv1_1/\w+ with shape \(3, 3, 2, 2\), but .* shape \(3, 3, 4, 4\)")):
    weights.load_trunk(make_params(channels=4), vgg_file)


def test_another_trunk_is_refused(vgg_file):
  with pytest.raises(ValueError, match='no conv1_1, .* set model.trunk to "vgg16"'):
    weights.load_trunk(make_model(), vgg_file)


@pytest.mark.parametrize("name", ["bad.npz", "bad.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all, but some text", b"PK\x03\x04broken"])
def test_unreadable_files_are_named(tmp_path, name, content):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(ValueError, match=f"{name} cannot be read as"):
    weights.load_pretrained(make_params(), tmp_path / name)


@pytest.mark.parametrize("name", ["none.npz", "none.safetensors"])
def test_missing_files_are_named(tmp_path, name):
  with pytest.raises(FileNotFoundError, match=f"{name}: no such file"):
    weights.load_pretrained(make_params(), tmp_path / name)


def test_unknown_kinds_are_refused(tmp_path):
  with pytest.raises(ValueError, match=r"model.pkl: pretrained weights are .npz"):
    weights.load_pretrained(make_params(), tmp_path / "model.pkl")


def test_a_model_survives_the_file_bit_by_bit(tmp_path):
  params = make_model()
  path = tmp_path / "new" / "model.safetensors"
  weights.save_safetensors(path, params, {"config": '{"a": 1}', "category_names": "disc"})
  loaded, metadata = weights.load_safetensors(path)
  assert_trees_equal(loaded, params)
  assert metadata == {"config": '{"a": 1}', "category_names": "disc"}


@pytest.mark.parametrize("dtype, bits", [("float16", 11), ("bfloat16", 8)])
def test_half_precision_halves_the_file_and_rounds(tmp_path, dtype, bits):
  params = {"a": {"b": np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)}}
  for name in ("float32", dtype):
    weights.save_safetensors(tmp_path / name, params, {}, dtype=name)
  ratio = (tmp_path / dtype).stat().st_size / (tmp_path / "float32").stat().st_size
  assert 0.5 <= ratio < 0.51
  loaded, _ = weights.load_safetensors(tmp_path / dtype)
  assert loaded["a"]["b"].dtype == np.float32
  np.testing.assert_allclose(loaded["a"]["b"], params["a"]["b"], rtol=2.0**-bits)
  assert (loaded["a"]["b"] != params["a"]["b"]).any()


def test_rounding_refuses_what_it_cannot_hold(tmp_path):
  with pytest.raises(ValueError, match="a/b has values beyond float16"):
    weights.save_safetensors(tmp_path / "x", {"a": {"b": np.array([1e6])}}, {}, dtype="float16")
  with pytest.raises(ValueError, match="dtype 'int8' is none of float32, float16, bfloat16"):
    weights.save_safetensors(tmp_path / "x", {"a": np.zeros(3)}, {}, dtype="int8")


def test_a_model_file_is_merged_with_a_report(tmp_path):
  path = tmp_path / "model.safetensors"
  weights.save_safetensors(path, {"box_stage": {"conv": {"bias": np.full(3, 7.0, np.float32)}},
                                  "old_stage": {"x": np.zeros(2, np.float32)}}, {})
  params, report = weights.load_pretrained(make_params(), path)
  np.testing.assert_array_equal(params["box_stage"]["conv"]["bias"], [7, 7, 7])
  assert report.loaded == ("box_stage/conv/bias",)
  assert len(report.initialised) == 26
  assert report.left_over == ("old_stage/x",)
  assert "1 of the file left over (old_stage)" in str(report)


def test_a_file_with_nothing_of_the_model_is_refused(tmp_path):
  path = tmp_path / "model.safetensors"
  weights.save_safetensors(path, {"other": np.zeros(2, np.float32)}, {})
  with pytest.raises(ValueError, match="no parameter of the model; it holds other"):
    weights.load_pretrained(make_params(), path)


def test_the_oxford_weights_are_read(shared_dir):
  layers = weights.load_vgg16_npz(shared_dir / "weights" / "vgg16_imagenet_conv.npz")
  assert layers["conv1_1"]["kernel"].shape == (3, 3, 3, 64)
  assert layers["conv5_3"]["kernel"].shape == (3, 3, 512, 512)
  assert layers["conv5_3"]["bias"].dtype == np.float32
  # Known: the first weight of the first filter, for blue.
  assert layers["conv1_1"]["kernel"][0, 0, 0, 0] == pytest.approx(0.42947057)
