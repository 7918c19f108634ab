"""Our own models as one file, bit by bit or in half the size."""

import os

import jax
import numpy as np
import pytest

from helpers.tiny import tiny_config
from mnc_jax import weights
from mnc_jax.config.serialization import to_json
from mnc_jax.model.parameters import init_params
from mnc_jax.weights import model_file


def make_model():
  """The parameters of a whole cascade, as noise."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(lambda: init_params(jax.random.key(0), tiny_config()))
  return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)


def assert_trees_equal(found, expected):
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    assert one.dtype == other.dtype
    np.testing.assert_array_equal(one, other)


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


def test_paths_of_the_machine_that_wrote_it_are_ignored():
  config = tiny_config(
      data={"data_dir": "/there/data", "train_annotations": "/there/a.json", "image_ids": (3,),
            "eval_images": "/there/images"},
      train={"init_weights": "/there/w.npz", "init_only_backbone": True, "num_steps": 7})
  assert weights.read_config({"config": to_json(config)}, "w.safetensors") == tiny_config(
      data={"image_ids": (3,)}, train={"num_steps": 7})


def test_rounding_refuses_what_it_cannot_hold(tmp_path):
  with pytest.raises(ValueError, match="a/b has values beyond float16"):
    weights.save_safetensors(tmp_path / "x", {"a": {"b": np.array([1e6])}}, {}, dtype="float16")
  with pytest.raises(ValueError, match="dtype is 'int8', but must be one of float32, float16"):
    weights.save_safetensors(tmp_path / "x", {"a": np.zeros(3)}, {}, dtype="int8")


def test_missing_and_unreadable_files_are_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="none.safetensors: no such file"):
    weights.load_safetensors(tmp_path / "none.safetensors")
  (tmp_path / "x").write_bytes(b"no weights")
  with pytest.raises(ValueError, match="x cannot be read as safetensors"):
    weights.load_safetensors(tmp_path / "x")


def test_what_cannot_be_written_leaves_the_file_that_is_there(tmp_path, monkeypatch):
  def fail(*arguments, **options):
    raise model_file.SafetensorError("no space left")
  monkeypatch.setattr(model_file, "save_file", fail)
  for name in ("there", "new"):
    (tmp_path / "there").write_text("before")
    with pytest.raises(OSError, match=f"{name} cannot be written: no space left"):
      weights.save_safetensors(tmp_path / name, {"a": np.zeros(3, np.float32)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "before"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_others_may_read_the_file_if_the_umask_lets_them(tmp_path, umask, mode):
  before = os.umask(umask)
  try:
    weights.save_safetensors(tmp_path / "a.safetensors", {"a": np.zeros(3, np.float32)}, {})
  finally:
    os.umask(before)
  assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == mode
