"""Notebooks: each runs from top to bottom in a new kernel; none keeps outputs in git."""

import json
import os
import pathlib
import re
import zipfile

import nbclient
import nbformat
import numpy as np
import pytest

from mnc_jax.data.images import encode_png

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# The only place beside the notebooks and the README that knows where the project is at home.
HOME = "mnc-jax/mnc_jax"
COLAB = f"https://colab.research.google.com/github/{HOME}/blob/main/notebooks"
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({}/{})"
# What all of them begin with; two have lines of their own before it.
INSTALL = "import importlib.util\n"

by_name = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def read(path):
  notebook = nbformat.read(path, as_version=4)
  nbformat.validate(notebook)
  return notebook


def code_cells(path):
  return [cell for cell in read(path).cells if cell.cell_type == "code"]


def install_cell(path):
  """Returns the part of the first code cell that all notebooks share."""
  source = code_cells(path)[0].source
  return source[source.index(INSTALL):]


def test_there_are_five_and_the_readme_names_each():
  assert [path.stem[:3] for path in PATHS] == ["01_", "02_", "03_", "04_", "05_"]
  readme = (ROOT / "README.md").read_text()
  for path in PATHS:
    assert f"[{path.stem}](notebooks/{path.name})" in readme
    assert f"({COLAB}/{path.name})" in readme


@by_name
def test_outputs_are_stripped(path):
  content = json.loads(path.read_text())
  assert set(content["metadata"]) == {"kernelspec", "language_info"}
  for cell in content["cells"]:
    assert not cell["metadata"] and not cell.get("outputs") and not cell.get("execution_count")
  assert path.stat().st_size < 40_000


@by_name
def test_a_badge_is_on_top_and_opens_this_notebook(path):
  first = read(path).cells[0]
  assert first.cell_type == "markdown"
  assert first.source.startswith(BADGE.format(COLAB, path.name) + "\n\n# ")


@by_name
def test_links_between_notebooks_resolve(path):
  text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
  for name in re.findall(r"\]\((?!http)([^)]+)\)", text):
    assert (path.parent / name).is_file(), name


@by_name
def test_the_first_cell_installs_from_the_home_of_the_project(path):
  cell = install_cell(path)
  assert cell == install_cell(PATHS[0])
  assert f'"git+https://github.com/{HOME}"' in cell


@pytest.mark.parametrize(("nvidia", "environment", "extra"), [
    (True, {}, "[cuda]"), (False, {"TPU_NAME": "x"}, "[tpu]"), (False, {}, "")])
def test_the_first_cell_chooses_the_extra_and_leaves_an_installation_alone(
    nvidia, environment, extra, monkeypatch, capsys):
  commands = []

  def run(command, **options):
    commands.append(command)
    return type("Done", (), {"returncode": 0})

  for name in ("TPU_NAME", "TPU_ACCELERATOR_TYPE", "COLAB_TPU_ADDR", "MNC_SOURCE"):
    monkeypatch.delenv(name, raising=False)
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  monkeypatch.setattr("subprocess.run", run)
  monkeypatch.setattr("shutil.which", lambda name: "/bin/nvidia-smi" if nvidia else None)
  exec(install_cell(PATHS[0]), {})
  assert not commands and "JAX " in capsys.readouterr().out
  monkeypatch.setattr("importlib.util.find_spec", lambda name: name != "matplotlib" or None)
  exec(install_cell(PATHS[0]), {})
  assert commands.pop()[1:] == ["-m", "pip", "install", "--quiet", "matplotlib"]
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  exec(install_cell(PATHS[0]), {})
  assert commands[-1][1:] == ["-m", "pip", "install", "--quiet",
                              f"mnc_jax{extra} @ git+https://github.com/{HOME}", "matplotlib"]


def count_asserts(path):
  return sum(len(re.findall(r"^ *(?:assert |np\.testing\.assert)", cell.source, re.MULTILINE))
             for cell in code_cells(path))


def execute(notebook, folder):
  """Runs all cells in `folder` with few steps, and returns what they printed."""
  # One device unless a notebook makes more, and quick compilation as in all tests.
  flags = os.environ.get("XLA_FLAGS", "").split()
  flags = [flag for flag in flags if "host_platform_device_count" not in flag]
  environment = os.environ | {
      "MNC_NOTEBOOK_STEPS": "6", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": " ".join(flags),
      "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
  client = nbclient.NotebookClient(
      notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
  client.execute(env=environment)  # An error of a cell is raised, with its traceback.
  return "".join(output.get("text", "") for cell in code_cells_of(notebook)
                 for output in cell.outputs)


@by_name
def test_it_runs(path, tmp_path):
  assert count_asserts(path) >= 4
  notebook = read(path)
  assert "cpu" in execute(notebook, tmp_path).splitlines()[0]
  pictures = [output for cell in code_cells_of(notebook) for output in cell.outputs
              if "image/png" in output.get("data", {})]
  assert pictures


def write_label_studio_zip(path):
  """Writes ten images of one square each, as Label Studio exports them; a polygon is broken."""
  content = {"images": [], "annotations": [], "categories": [{"id": 0, "name": "square"}]}
  with zipfile.ZipFile(path, "w") as archive:
    for number in range(10):
      image = np.full((64, 64, 3), 40, np.uint8)
      image[16:48, 8 + number:40 + number] = (200, 180, 40)
      name, low, high = f"images/{number}.png", 8 + number, 40 + number
      archive.writestr(name, encode_png(image))
      content["images"].append({"id": number, "file_name": name, "width": 64, "height": 64})
      corners = [low, 16, high, 16, high, 48, low, 48]
      content["annotations"].append({
          "id": number, "image_id": number, "category_id": 0, "iscrowd": 0, "area": 1024,
          "bbox": [low, 16, 32, 32], "segmentation": [corners[:4] if number == 3 else corners]})
    archive.writestr("result.json", json.dumps(content))


def test_it_takes_a_zip_of_the_users_and_options_of_prepare(tmp_path):
  write_label_studio_zip(tmp_path / "mine.zip")
  notebook = read(next(path for path in PATHS if path.stem == "02_your_data"))
  for cell in code_cells_of(notebook)[:1]:
    cell.source = cell.source.replace('SOURCE = ""', 'SOURCE = "mine.zip"').replace(
        "PREPARE = []", 'PREPARE = ["--allow-bad"]')
  printed = execute(notebook, tmp_path)
  assert "square" in printed and "after 6 steps" in printed


def code_cells_of(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == "code"]
