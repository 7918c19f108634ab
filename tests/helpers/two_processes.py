"""A program run as two processes that know each other, as on two hosts."""

import os
import pathlib
import socket
import subprocess
import sys

TESTS = pathlib.Path(__file__).parents[1]

# Arguments of a program: its process index, and the port where the two meet.
_START = """
import sys, jax
jax.distributed.initialize("localhost:" + sys.argv[2], 2, int(sys.argv[1]))
"""


def run_two(program: str) -> list[str]:
  """Runs the program in both; returns the last line that each of them printed."""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = str(free.getsockname()[1])
  path = os.pathsep.join(map(str, (TESTS.parent, TESTS)))
  environment = os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
  processes = [subprocess.Popen([sys.executable, "-c", _START + program, str(index), port],
                                text=True, stdout=subprocess.PIPE, env=environment)
               for index in range(2)]
  try:
    printed = [process.communicate(timeout=600)[0] for process in processes]
  finally:
    for process in processes:
      process.kill()
  return [text.splitlines()[-1] for text in printed]
