"""mnc export: formats, sources, and the script of docs/deploy.md that runs a program."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import cv2
import numpy as np
import PIL.Image
import pytest

from helpers import tiny
import mnc_jax
from mnc_jax import cli, weights
from mnc_jax.data.readers.drawing import draw_image
from mnc_jax.data.transforms import resize_image
from mnc_jax.model.trained import Model
from mnc_jax.training.checkpoint import describe_source

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "deploy.md"
SCRIPT = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1]


@pytest.fixture
def export(capsys):
  """A function that runs mnc export; returns the status and what it printed."""
  def call(*arguments):
    status = 0
    try:
      cli.run("export", arguments=[str(x) for x in arguments])
    except SystemExit as stopped:
      status = stopped.code
    captured = capsys.readouterr()
    return status, captured.out + captured.err
  return call


@pytest.fixture
def run_script(tmp_path):
  """A function that runs the guide's script where mnc_jax cannot be imported."""
  (tmp_path / "find.py").write_text(SCRIPT)
  for name in ("mnc_jax", "flax", "optax", "chex", "cv2", "safetensors"):
    (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not for this script')")

  def call(model, picture):
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "find.py", model, picture, "found.npz"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.load(tmp_path / "found.npz"), done.stdout.splitlines()
  return call


def assert_same(found, expected):
  np.testing.assert_array_equal(found["labels"], expected.labels)
  np.testing.assert_allclose(found["scores"], expected.scores, atol=0.01)
  np.testing.assert_allclose(found["boxes"], expected.boxes, atol=0.3)
  assert found["masks"].shape == expected.masks.shape
  assert found["masks"].dtype == bool
  differing = (found["masks"] != expected.masks).sum(axis=(1, 2))
  assert (differing <= 0.01 * expected.masks.sum(axis=(1, 2)) + 2).all()


def test_the_script_is_short_and_imports_nothing_of_ours():
  assert len(SCRIPT.splitlines()) < 60
  imported = {name.split(".")[0] for node in ast.walk(ast.parse(SCRIPT))
              for name in ([node.module] if isinstance(node, ast.ImportFrom) else
                           [alias.name for alias in node.names] if isinstance(node, ast.Import)
                           else [])}
  assert imported - sys.stdlib_module_names == {"jax", "numpy", "PIL"}


def test_the_script_finds_what_detect_finds(tmp_path, export, run_script):
  path, picture = tmp_path / "shapes.zip", tmp_path / "picture.png"
  status, text = export("--weights", "shapes", "--output", path)
  assert status == 0, text
  assert text == f"{path}: {path.stat().st_size / 1e6:.1f} MB\n"
  image = draw_image(1, 1).image
  PIL.Image.fromarray(cv2.resize(image, (300, 211), interpolation=cv2.INTER_CUBIC)).save(picture)
  found, lines = run_script(path, picture)
  expected = mnc_jax.detect(mnc_jax.load("shapes"), str(picture))
  assert len(expected.labels) >= 2
  assert_same(found, expected)
  assert [line.split()[0] for line in lines] == list(expected.names)
  PIL.Image.new("RGB", (90, 50), (90, 90, 90)).save(picture)
  found, lines = run_script(path, picture)
  assert found["masks"].shape == (0, 50, 90)
  assert found["boxes"].shape == (0, 4)
  assert not lines


def test_the_script_stretches_turns_enlarges_and_chooses_the_padded_size(tmp_path, run_script):
  config = tiny.tiny_config(data={
      "short_side": 48, "buckets": ((48, 64), (64, 48), (64, 64)), "stretch_contrast": True})
  params = tiny.random_params(config)
  params["category_stage"]["category"]["bias"] = np.float32([0, 4, 1])
  params["category_stage"]["category"]["kernel"] *= 100
  model = Model(params, config, ("cat", "dog"), (3, 7), {})
  weights.save_programs(tmp_path / "model.zip", model)
  image = np.random.default_rng(0).integers(60, 110, (31, 22, 3)).astype(np.uint8)
  image[8:20, 5:15] = 180
  # Stored lying on its side: as displayed, it is 31 high and 22 wide.
  exif = PIL.Image.Exif()
  exif[0x0112] = 6
  PIL.Image.fromarray(np.rot90(image)).save(tmp_path / "picture.png", exif=exif)
  found, _ = run_script(tmp_path / "model.zip", tmp_path / "picture.png")
  expected = mnc_jax.detect(model, str(tmp_path / "picture.png"))
  assert expected.masks.shape[1:] == (31, 22)
  assert len(expected.labels) >= 2
  assert_same(found, expected)


@pytest.mark.parametrize("old, new", [((211, 300), (90, 128)), ((30, 41), (94, 128))])
def test_the_script_resizes_as_we_do(old, new):
  functions = {}
  exec(SCRIPT[:SCRIPT.index("\narchive")], functions)
  image = np.random.default_rng(0).integers(0, 256, (*old, 3)).astype(np.uint8)
  difference = functions["resize"](image, new) - resize_image(image, new)
  assert difference.shape == (*new, 3)
  # OpenCV computes in fixed point.
  assert abs(difference).max() <= 1
  assert abs(difference).mean() < 0.2


def test_a_file_of_weights_is_a_source_too(tmp_path, export):
  path = tmp_path / "half.SafeTensors"
  status, text = export("--weights", "shapes", "--dtype", "float16", "--output", path)
  assert status == 0, text
  half, whole = mnc_jax.load(path), mnc_jax.load("shapes")
  assert half[1:4] == whole[1:4]
  assert half.notes["source"] == describe_source(whole.notes)
  kernel = np.asarray(whole.params["mask_stage"]["mask"]["kernel"])
  np.testing.assert_array_equal(half.params["mask_stage"]["mask"]["kernel"],
                                kernel.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("arguments, message", [
    (["--output", "m.zip"], "give either --workdir DIR or --weights NAME|FILE"),
    (["--workdir", "w", "--weights", "shapes", "--output", "m.zip"], "give either --workdir DIR"),
    (["--weights", "shapes", "--output", "m.onnx"],
     "--output m.onnx: give a name that ends in .safetensors or .zip, or --format"),
    (["--weights", "shapes", "--output", "m.bin", "--format", "safetensors"],
     "--output m.bin: mnc_jax recognises models by the ending .safetensors"),
    (["--weights", "shapes", "--output", "m.zip", "--format", "safetensors"],
     "--output m.zip ends as files of stablehlo, but --format is safetensors"),
    (["--weights", "shapes", "--output", "m.zip", "--dtype", "bfloat16"],
     "--dtype bfloat16 is only for safetensors"),
    (["--weights", "shapes", "--output", "m", "--format", "onnx"], "onnx"),
    (["--workdir", "nowhere", "--output", "m.zip"], "nowhere: no such file or folder")])
def test_wrong_options_are_explained(export, tmp_path, monkeypatch, arguments, message):
  monkeypatch.chdir(tmp_path)
  status, text = export(*arguments)
  assert status != 0
  assert message in f"{text}{status}"
  assert "Traceback" not in text
  assert not list(tmp_path.iterdir())
