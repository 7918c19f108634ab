"""Installs a wheel in an empty environment and uses it from an empty folder.

    python tests/wheel_check.py dist/mnc_jax-0.1.0-py3-none-any.whl constraints.txt

Nothing of the checkout can be imported there: what the wheel lacks, fails.
"""

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
print(found.names, found.masks.shape)
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
    (("python", "-c", THREE_LINES), "('ring', 'triangle') (2, 128, 128)"),
    ((*TRAIN, "--train.num-steps", "2"), "Done: 2 steps"),
    ((*TRAIN, "--train.num-steps", "3"), "Resuming from the checkpoint of step 2"),
    (("mnc", "evaluate", "--workdir", "run", "--data.image-ids", "1000000", "1000001"),
     "(2 images)"),
    (("mnc", "predict", "--workdir", "run", "--output", "out", "image.png"), "20 instances"),
    (("python", "-m", "mnc_jax", "predict", "--weights", "shapes", "--self-check"), "passed"),
)


def main(wheel: str, constraints: str) -> None:
  """Installs the wheel and runs `COMMANDS`; the first that fails ends the check."""
  with tempfile.TemporaryDirectory() as folder:
    programs = pathlib.Path(folder, "venv", "bin")
    venv.create(programs.parent, with_pip=True)
    run(programs, folder, ("pip", "install", "-q", "-c", str(pathlib.Path(constraints).resolve()),
                           str(pathlib.Path(wheel).resolve())))
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
  main(*sys.argv[1:])
