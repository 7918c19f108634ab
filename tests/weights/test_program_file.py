"""Exported programs: equal to `predict`, for any number of images, on all platforms."""

import functools
import json
import pathlib
import zipfile

from flax import traverse_util
import jax
import numpy as np
import pytest

from helpers import tiny
import mnc_jax
from mnc_jax import configs
from mnc_jax.config import with_categories
from mnc_jax.model.parameters import init_params
from mnc_jax.model.trained import Model
from mnc_jax.weights import program_file
from mnc_jax.weights.program_file import export_program, save_programs

CONFIG = tiny.tiny_config(data={"buckets": ((64, 96), (64, 64))})


def make_model(config=CONFIG):
  """A model with arbitrary weights, which finds something everywhere."""
  params = tiny.random_params(config)
  params["category_stage"]["category"]["kernel"] *= 100
  return Model(params, config, ("cat", "dog"), (3, 7), {"source": "noise"})


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  path = tmp_path_factory.mktemp("exported") / "new" / "model.zip"
  save_programs(path, make_model())
  return path


@pytest.fixture(scope="module")
def content(path):
  """What a reader without this library sees: model.json, weights, {size: program}."""
  return read(path)


def read(path):
  with zipfile.ZipFile(path) as archive:
    assert archive.testzip() is None
    model = json.loads(archive.read("model.json"))
    flat = {name: np.load(archive.open(f"weights/{name}.npy")) for name in model["weights"]}
    programs = {tuple(one["size"]): jax.export.deserialize(bytearray(archive.read(one["file"])))
                for one in model["programs"]}
  return model, flat, programs


@pytest.fixture(scope="module")
def assert_finds(content):
  """A function that runs the program of a size, and compares it with `predict`."""
  run = {size: jax.jit(program.call) for size, program in content[2].items()}
  predict = jax.jit(functools.partial(mnc_jax.predict, config=CONFIG))
  def check(flat, images, sizes):
    found = run[images.shape[1:3]](flat, images, sizes)
    params = traverse_util.unflatten_dict(flat, sep="/")
    expected = predict(params, images, sizes)
    assert set(found) == set(expected._fields)
    for name, values in found.items():
      wanted = getattr(expected, name)
      assert values.dtype == wanted.dtype
      np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-4, err_msg=name)
    return expected
  return check


def make_images(count, width=64):
  images = np.zeros((count, 64, width, 3), np.uint8)
  images[:, :, :64] = tiny.make_batch(count, side=64).images
  return images, np.full((count, 2), 64, np.int32)


def test_a_program_finds_what_predict_finds(content, assert_finds):
  expected = assert_finds(content[1], *make_images(1))
  assert expected.valid.sum() > 1


def test_any_number_of_images_and_one_without_instances(content, assert_finds):
  images, sizes = make_images(3, width=96)
  sizes[1:] = (40, 64), (0, 0)
  expected = assert_finds(content[1], images, sizes)
  assert expected.valid.any(axis=1).tolist() == [True, True, False]


def test_programs_are_for_cpu_cuda_and_tpu(content):
  model, flat, programs = content
  assert model["platforms"] == ["cpu", "cuda", "tpu"]
  for (height, width), program in programs.items():
    assert program.platforms == ("cpu", "cuda", "tpu")
    *weights, images, sizes = program.in_avals
    assert len(weights) == len(flat)
    assert [str(side) for side in images.shape] == ["b", str(height), str(width), "3"]
    assert (images.dtype, sizes.dtype) == (np.uint8, np.int32)
    # Each platform has its own part, chosen when the program is compiled.
    assert "_platform_index" in program.mlir_module()


def test_what_a_reader_needs_is_beside_the_programs(content):
  model, flat, programs = content
  # Smallest first, as images are assigned.
  assert list(programs) == [(64, 64), (64, 96)]
  assert (model["short_side"], model["long_side"], model["stretch_contrast"]) == (64, 64, False)
  assert model["mask_threshold"] == CONFIG.inference.mask_threshold
  assert (model["category_names"], model["category_ids"]) == (["cat", "dog"], [3, 7])
  assert model["config"]["inference"]["max_instances"] == 6
  assert model["source"] == "noise"
  expected = traverse_util.flatten_dict(make_model().params, sep="/")
  assert list(flat) == list(expected)
  jax.tree.map(np.testing.assert_array_equal, flat, expected)


def test_half_precision_rounds_the_weights_alone(tmp_path, assert_finds):
  model = make_model(tiny.tiny_config())
  save_programs(tmp_path / "half.zip", model, dtype="float16")
  _, flat, programs = read(tmp_path / "half.zip")
  assert {array.dtype for array in flat.values()} == {np.dtype(np.float16)}
  images, sizes = make_images(1)
  rounded = {name: array.astype(np.float32) for name, array in flat.items()}
  expected = assert_finds(rounded, images, sizes)
  found = programs[64, 64].call(flat, images, sizes)
  np.testing.assert_allclose(found["scores"], expected.scores, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(found["boxes"], expected.boxes, rtol=1e-4, atol=1e-3)


SHIPPED = {
    "shapes": {"inference": {"flip": True, "scales": (1.0, 1.5), "nms": "soft"}},
    "photographs": {},
    "voc_vgg16_release": {"inference": {"max_instances": 10}},
    "coco_resnet101_mnc5": {"model": {"backbone": "resnet26", "share_features": False}}}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_lower_for_any_number_of_images(name):
  config = with_categories(tiny.override(configs.get(name), **SHIPPED[name]), ("cat", "dog"))
  shapes = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
  program = export_program(traverse_util.flatten_dict(shapes, sep="/"),
                           config.data.padded_sizes[0], config=config)
  kept, side = config.inference.max_instances, config.model.mask_size
  outputs = jax.tree.unflatten(program.out_tree, program.out_avals)
  assert str(outputs["masks"].shape) == f"(b, {kept}, {side}, {side})"


def test_programs_do_not_name_folders_of_the_machine_that_made_them(path):
  home = str(pathlib.Path(mnc_jax.__file__).parents[1]).encode()
  with zipfile.ZipFile(path) as archive:
    assert not any(home in archive.read(name) for name in archive.namelist())
    assert b"inference.py" in archive.read("predict_64x64.jax")


def test_what_cannot_be_written_leaves_the_file_that_is_there(tmp_path, monkeypatch):
  path, model = tmp_path / "model.zip", make_model(tiny.tiny_config())
  path.write_text("before")
  with pytest.raises(ValueError, match="NumPy files have no bfloat16: use float16"):
    save_programs(path, model, dtype="bfloat16")
  def fail(*arguments, **options):
    raise OSError("no space left")
  monkeypatch.setattr(np.lib.format, "write_array", fail)
  monkeypatch.setattr(program_file, "export_program", lambda *args, **options: Empty())
  with pytest.raises(OSError, match="no space left"):
    save_programs(path, model)
  assert path.read_text() == "before"
  assert list(tmp_path.iterdir()) == [path]


class Empty:
  """A stand-in for a program."""

  def serialize(self):
    return bytearray()
