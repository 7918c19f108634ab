"""The watchdog ends a program that is silent, and no other."""

import os
import subprocess
import sys

_PROGRAM = """
import sys, time
from mnc_jax.training.watchdog import Watchdog
dog = Watchdog(float(sys.argv[1]), "ask the neighbour.")
for _ in range(10):
  time.sleep(0.1)
  dog.beat()
print("worked", flush=True)
time.sleep(float(sys.argv[2]))
"""


def run(*arguments):
  return subprocess.run([sys.executable, "-c", _PROGRAM, *map(str, arguments)], text=True,
                        capture_output=True, check=False, timeout=60,
                        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def test_silence_ends_the_program_with_a_message():
  ended = run(0.7, 50)
  assert ended.stdout == "worked\n"
  assert ended.returncode == 1
  assert "No progress for 1 seconds: ask the neighbour." in ended.stderr


def test_zero_watches_nothing():
  assert run(0, 0.5).returncode == 0
