"""Installs a wheel or an sdist in an empty environment and uses it from an empty folder.

    python tests/wheel_check.py dist/mnc_jax-0.2.0-py3-none-any.whl constraints.txt
    python tests/wheel_check.py dist/mnc_jax-0.2.0.tar.gz constraints.txt
    python tests/wheel_check.py --packages FOLDER dist/mnc_jax-0.2.0.tar.gz constraints.txt

Nothing of the checkout can be imported there: what is not packed, fails. With --packages the
dependencies are those of a folder, and only the file itself is installed.
"""

import argparse
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
import venv

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
    ((*TRAIN, "--train.num-steps", "2"), "Done: 2 steps"),
    ((*TRAIN, "--train.num-steps", "3"), "Resuming from the checkpoint of step 2"),
    (("mnc", "evaluate", "--workdir", "run", "--data.image-ids", "1000000", "1000001"),
     "(2 images)"),
    (("mnc", "predict", "--workdir", "run", "--output", "out", "image.png"), "20 instances"),
    (("python", "-m", "mnc_jax", "predict", "--weights", "shapes", "--self-check"), "passed"),
)


def main(package: str, constraints: str, packages: str | None) -> None:
  """Installs the package and runs `COMMANDS`; the first that fails ends the check."""
  with tempfile.TemporaryDirectory() as folder:
    programs = pathlib.Path(folder, "venv", "bin")
    venv.create(programs.parent, with_pip=True)
    options = ["-c", str(pathlib.Path(constraints).resolve())]
    if packages:
      options += ["--no-deps", "--ignore-installed"]
      # What is installed here comes first, before the lines of .pth files.
      (site,) = programs.parent.glob("lib/python3*/site-packages")
      (site / "packages.pth").write_text(f"{pathlib.Path(packages).resolve()}\n")
    run(programs, folder, ("pip", "install", "-q", *options, str(pathlib.Path(package).resolve())))
    for command, expected in COMMANDS:
      output = run(programs, folder, command)
      if expected not in output:
        sys.exit(f"{output}\n{expected!r} is missing above.")


def run(programs: pathlib.Path, folder: str, command) -> str:
  """Returns what a command prints."""
  print(f"$ {shlex.join(command)}", flush=True)
  environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
  done = subprocess.run(
      [programs / command[0], *command[1:]], cwd=folder, env=environment, text=True, check=False,
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
  if done.returncode:
    sys.exit(f"{done.stdout}\nended with status {done.returncode}.")
  return done.stdout


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description="Checks a wheel or an sdist.")
  parser.add_argument("package")
  parser.add_argument("constraints")
  parser.add_argument("--packages", metavar="FOLDER")
  main(**vars(parser.parse_args()))
