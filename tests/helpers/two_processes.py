"""A program run as two processes that know each other, as on two hosts."""

import os
import pathlib
import socket
import subprocess
import sys

TESTS = pathlib.Path(__file__).parents[1]

# Lets one process compile for both. On CPU, JAX's keys of compiled programs hold the index of the
# process, by which the second would wait in vain for the first, and find nothing in the cache.
SHARE_PROGRAMS = """
import jax
from jax._src import cache_key
if hasattr(cache_key, "_hash_accelerator_config"):
  cache_key._hash_accelerator_config = lambda *unused: None
  jax.config.update("jax_share_binary_between_hosts", True)
"""

# Arguments of a program: its process index, and the port where the two meet.
_START = SHARE_PROGRAMS + """
import sys
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
