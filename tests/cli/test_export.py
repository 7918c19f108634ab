"""mnc export: formats, sources, and the script of docs/deploy.md that runs a program."""

import ast
import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

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

# Of random weights all candidates score high.
pytestmark = pytest.mark.filterwarnings("ignore:.*there may be more instances")
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

  def call(model, picture, *, message=""):
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "find.py", model, picture, "found.npz"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False)
    if message:
      assert (done.returncode, done.stderr) == (1, f"{picture}: {message}\n")
      return None
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
  assert len(SCRIPT.splitlines()) < 75
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


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
  """A model that stretches contrast and finds something everywhere, and its file of programs."""
  config = tiny.tiny_config(data={
      "short_side": 48, "buckets": ((48, 64), (64, 48), (64, 64)), "stretch_contrast": True})
  params = tiny.random_params(config)
  params["category_stage"]["category"]["bias"] = np.float32([0, 4, 1])
  params["category_stage"]["category"]["kernel"] *= 100
  model = Model(params, config, ("cat", "dog"), (3, 7), {})
  path = tmp_path_factory.mktemp("tiny") / "model.zip"
  weights.save_programs(path, model)
  return model, path


def test_the_script_stretches_turns_enlarges_and_chooses_the_padded_size(
    tmp_path, run_script, tiny_model):
  model, path = tiny_model
  image = np.random.default_rng(0).integers(60, 110, (31, 22, 3)).astype(np.uint8)
  image[8:20, 5:15] = 180
  # Stored lying on its side: as displayed, it is 31 high and 22 wide.
  exif = PIL.Image.Exif()
  exif[0x0112] = 6
  PIL.Image.fromarray(np.rot90(image)).save(tmp_path / "picture.png", exif=exif)
  found, _ = run_script(path, tmp_path / "picture.png")
  expected = mnc_jax.detect(model, str(tmp_path / "picture.png"))
  assert expected.masks.shape[1:] == (31, 22)
  assert len(expected.labels) >= 2
  assert_same(found, expected)


def test_the_script_leaves_noise_on_one_intensity_as_it_is(tmp_path, run_script, tiny_model):
  image = np.full((48, 64, 3), 200, np.uint8)
  image[20, 30] = 208
  PIL.Image.fromarray(image).save(tmp_path / "picture.png")
  found, _ = run_script(tiny_model[1], tmp_path / "picture.png")
  expected = mnc_jax.detect(tiny_model[0], str(tmp_path / "picture.png"))
  assert len(expected.labels)
  assert_same(found, expected)


def with_data(path, output, **fields):
  """Writes the file of programs again, for the first size alone, with other fields of data."""
  with zipfile.ZipFile(path) as before, zipfile.ZipFile(output, "w") as after:
    for name in before.namelist():
      content = before.read(name)
      if name == "model.json":
        model = json.loads(content)
        assert set(fields) <= set(model["config"]["data"])
        model["config"]["data"] |= fields
        model["programs"] = model["programs"][:1]
        content = json.dumps(model)
      after.writestr(name, content)
  return output


@pytest.mark.parametrize("fields, message", [
    ({"channels": [1]}, "this script reads neither pages nor a choice of channels"),
    ({"page": 2}, "this script reads neither pages nor a choice of channels"),
    ({}, "(58, 48) pixels after scaling, more than any program takes")])
def test_the_script_ends_at_what_it_cannot_do(tmp_path, run_script, tiny_model, fields, message):
  path = with_data(tiny_model[1], tmp_path / "model.zip", **fields)
  PIL.Image.new("RGB", (50, 60)).save(tmp_path / "picture.png")
  run_script(path, tmp_path / "picture.png", message=message)


def test_the_script_reads_pixels_as_stored_where_the_config_says_so(
    tmp_path, run_script, tiny_model):
  exif = PIL.Image.Exif()
  exif[0x0112] = 6
  image = np.random.default_rng(0).integers(0, 255, (22, 31, 3)).astype(np.uint8)
  PIL.Image.fromarray(image).save(tmp_path / "picture.png", exif=exif)
  path = with_data(tiny_model[1], tmp_path / "model.zip", exif="stored")
  found, _ = run_script(path, tmp_path / "picture.png")
  assert found["masks"].shape[1:] == (22, 31)


@pytest.mark.parametrize("name, message", [
    ("grey.png", "more than 8 bits a channel, which this script does not read"),
    ("colours.png", "more than 8 bits a channel, which this script does not read"),
    ("grey.tif", "more than 8 bits a channel, which this script does not read"),
    ("pages.tif", "this script reads neither pages nor a choice of channels")])
def test_the_script_does_not_cut_depth_or_pages(tmp_path, run_script, tiny_model, name, message):
  deep = np.linspace(0, 4095, 48 * 64).astype(np.uint16).reshape(48, 64)
  if name == "pages.tif":
    pages = [PIL.Image.new("L", (64, 48), level) for level in (3, 9)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
  else:
    cv2.imwrite(str(tmp_path / name), np.stack([deep] * 3, -1) if name == "colours.png" else deep)
  run_script(tiny_model[1], tmp_path / name, message=message)


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
     "--output m.onnx: give a name that ends in .safetensors or .zip, or --format. ONNX and"),
    (["--weights", "shapes", "--output", "m.bin", "--format", "safetensors"],
     "--output m.bin: mnc_jax recognises models by the ending .safetensors"),
    (["--weights", "shapes", "--output", "m.zip", "--format", "safetensors"],
     "--output m.zip ends as files of stablehlo, but --format is safetensors"),
    (["--weights", "shapes", "--output", "m.zip", "--dtype", "bfloat16"],
     "--dtype bfloat16 is only for safetensors"),
    (["--weights", "shapes", "--output", "m", "--format", "onnx"],
     "--format onnx: give safetensors or stablehlo. ONNX and SavedModel are not written"),
    (["--workdir", "nowhere", "--output", "m.zip"], "nowhere: no such file or folder")])
def test_wrong_options_are_explained(export, tmp_path, monkeypatch, arguments, message):
  monkeypatch.chdir(tmp_path)
  status, text = export(*arguments)
  assert status != 0
  assert message in f"{text}{status}"
  assert "Traceback" not in text
  assert not list(tmp_path.iterdir())


def test_formats_that_are_not_written_lead_to_a_section_of_the_docs(export):
  _, text = export("--weights", "shapes", "--output", "m", "--format", "onnx")
  section, page = re.search(r'"([^"]+)" in (docs/\S+\.md)', " ".join(text.split())).groups()
  assert page == "docs/deploy.md" and f"## {section}\n" in GUIDE.read_text()
