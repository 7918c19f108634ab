"""Installs a wheel or an sdist in an empty environment and uses it from an empty folder.

    python tests/wheel_check.py dist/mnc_jax-0.2.0-py3-none-any.whl constraints.txt
    python tests/wheel_check.py dist/mnc_jax-0.2.0.tar.gz constraints.txt
    python tests/wheel_check.py --packages FOLDER dist/mnc_jax-0.2.0.tar.gz constraints.txt

Nothing of the checkout can be imported there: what is not packed, fails. Then notebook 01 runs in
an environment that has only Jupyter's kernel, where its first cell installs the file. With
--packages the dependencies are those of a folder, only the file itself is installed, and the
notebook is left out.
"""

import argparse
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import venv

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1] + """
print(len(found.scores) > 10, picture.dtype)
"""
THREE_LINES = """
import mnc_jax
found = mnc_jax.detect(mnc_jax.load("shapes"), "image.png")
print(sorted(found.names), found.masks.shape)
"""
DRAWING = """
import PIL.Image
from mnc_jax.data.readers.drawing import draw_image
PIL.Image.fromarray(draw_image(1, 1).image).save("image.png")
"""
TRAIN = ("mnc", "train", "--config", "shapes", "--workdir", "run")
# Text that the output of a command must have.
COMMANDS = (
    (("python", "-c", DRAWING), ""),
    (("python", "-c", THREE_LINES), "['ring', 'triangle'] (2, 128, 128)"),
    (("python", "-c", README), "True uint8"),
    ((*TRAIN, "--train.num-steps", "2"), "Done: 2 steps"),
    ((*TRAIN, "--train.num-steps", "3"), "Resuming from the checkpoint of step 2"),
    (("mnc", "evaluate", "--workdir", "run", "--data.image-ids", "1000000", "1000001"),
     "(2 images)"),
    (("mnc", "predict", "--workdir", "run", "--output", "out", "image.png"), "20 instances"),
    (("python", "-m", "mnc_jax", "predict", "--weights", "shapes", "--self-check"), "passed"),
)
NOTEBOOK = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
print(*(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])))
"""


def main(package: str, constraints: str, packages: str | None) -> None:
  """Runs `COMMANDS` and the notebook; the first that fails ends the check."""
  file, versions = pathlib.Path(package).resolve(), pathlib.Path(constraints).resolve()
  with tempfile.TemporaryDirectory() as folder:
    check_commands(folder, file, versions, packages)
  if not packages:
    with tempfile.TemporaryDirectory() as folder:
      check_notebook(folder, file, versions)


def check_commands(folder: str, package: pathlib.Path, constraints: pathlib.Path,
                   packages: str | None) -> None:
  """Installs the package and runs `COMMANDS`."""
  programs = make_environment(folder)
  options = ["-c", str(constraints)]
  if packages:
    options += ["--no-deps", "--ignore-installed"]
    # What is installed here comes first, before the lines of .pth files.
    (site,) = programs.parent.glob("lib/python3*/site-packages")
    (site / "packages.pth").write_text(f"{pathlib.Path(packages).resolve()}\n")
  run(programs, folder, ("pip", "install", "-q", *options, str(package)))
  for command, expected in COMMANDS:
    run(programs, folder, command, expected)


def check_notebook(folder: str, package: pathlib.Path, constraints: pathlib.Path) -> None:
  """Runs notebook 01, whose first cell installs the package."""
  programs = make_environment(folder)
  run(programs, folder, ("pip", "install", "-q", "-c", str(constraints), "ipykernel", "nbclient"))
  # The cell calls pip without constraints.
  run(programs, folder, ("python", "-c", NOTEBOOK, str(ROOT / "notebooks" / "01_quickstart.ipynb")),
      "passed", MNC_SOURCE=package.as_uri(), PIP_CONSTRAINT=str(constraints))


def make_environment(folder: str) -> pathlib.Path:
  """Returns the folder of the programs of an empty environment."""
  programs = pathlib.Path(folder, "venv", "bin")
  venv.create(programs.parent, with_pip=True)
  return programs


def run(programs: pathlib.Path, folder: str, command, expected: str = "", **variables) -> None:
  """Runs a command, whose output must have the `expected` text."""
  print(f"$ {shlex.join(command)}", flush=True)
  environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
  done = subprocess.run(
      [programs / command[0], *command[1:]], cwd=folder, env=environment | variables, text=True,
      check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
  if done.returncode:
    sys.exit(f"{done.stdout}\nended with status {done.returncode}.")
  if expected not in done.stdout:
    sys.exit(f"{done.stdout}\n{expected!r} is missing above.")


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description="Checks a wheel or an sdist.")
  parser.add_argument("package")
  parser.add_argument("constraints")
  parser.add_argument("--packages", metavar="FOLDER")
  main(**vars(parser.parse_args()))
