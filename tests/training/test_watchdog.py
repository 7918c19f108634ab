"""The watchdog ends a program that hangs, and no other."""

import contextlib
import os
import subprocess
import sys

import pytest

from mnc_jax.config import Config
from mnc_jax.training import watchdog

_PROGRAM = """
import ctypes, sys, time
from mnc_jax.training.watchdog import Watchdog
dog = Watchdog(float(sys.argv[1]), "check the hosts.")
for _ in range(10):
  time.sleep(0.1)
  dog.beat()
print("worked", flush=True)

def hang_in_python():
  time.sleep(50)

def hang_with_the_lock_of_python():
  ctypes.PyDLL(None).sleep(50)

def end_in_time():
  dog.stop()
  other = Watchdog(0, "")
  other.beat()
  time.sleep(3)

locals()[sys.argv[2]]()
"""


def run(*arguments):
  return subprocess.run([sys.executable, "-c", _PROGRAM, *map(str, arguments)], text=True,
                        capture_output=True, check=False, timeout=60,
                        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


@pytest.mark.parametrize("hang", ["hang_in_python", "hang_with_the_lock_of_python"])
def test_a_hang_ends_the_program_and_shows_where(hang):
  ended = run(0.7, hang)
  assert ended.stdout == "worked\n"
  assert ended.returncode == 1
  message, stacks = "No progress for 1 seconds: check the hosts.", ended.stderr.find("Timeout (")
  assert f"in {hang}\n" in ended.stderr[stacks:]
  if hang == "hang_in_python":
    assert 0 <= ended.stderr.find(message) < stacks


def test_it_watches_no_longer_than_its_block(monkeypatch):
  stopped = []
  monkeypatch.setattr(watchdog.parallel, "process_count", lambda: 2)
  monkeypatch.setattr(watchdog.Watchdog, "beat", lambda self: None)
  monkeypatch.setattr(watchdog.Watchdog, "stop", lambda self: stopped.append(self._seconds))
  with contextlib.suppress(KeyError), watchdog.watch(Config()):
    assert stopped == []
    raise KeyError
  assert stopped == [1800]


def test_zero_or_a_stop_watches_nothing():
  ended = run(0.7, "end_in_time")
  assert (ended.returncode, ended.stderr) == (0, "")
