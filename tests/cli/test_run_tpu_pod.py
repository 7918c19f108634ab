"""The script for TPU pods, with a gcloud that runs the command of a host on this machine."""

import os
import pathlib
import signal
import subprocess
import time

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "experiments" / "run_tpu_pod.sh"
GCLOUD = 'cd "$HOME" && exec bash -c "${@: -1}"\n'
# It prints what it was started with, waits for a file, and ends with a status of its own.
PYTHON = '''printf '[%s]' "$@"; echo
while [ ! -e end ]; do sleep .05; done
echo ended; exit 3
'''


@pytest.fixture
def start(tmp_path):
  """A function that starts the script with these two programs, in a session of its own."""
  for name, text in (("gcloud", GCLOUD), ("python3", PYTHON)):
    (tmp_path / name).write_text(f"#!/bin/bash\n{text}")
    (tmp_path / name).chmod(0o755)
  environment = os.environ | {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
  # Programs under nohup ignore the signal, and so do those that they start.
  handler = signal.signal(signal.SIGHUP, signal.SIG_DFL)
  yield lambda *arguments, **variables: subprocess.Popen(
      [SCRIPT, "pod", "zone", *arguments], env=environment | variables, stdout=subprocess.PIPE,
      text=True)
  signal.signal(signal.SIGHUP, handler)


def read_log(folder):
  """Returns the log of the host, once it has a line."""
  for _ in range(200):
    text = "".join(path.read_text() for path in folder.glob("mnc_train_*.log"))
    if "\n" in text:
      return text
    time.sleep(0.05)
  raise AssertionError("no log")


COMMAND = "[-m][mnc_jax][train][--join-hosts][--config][my 'config'.py]"


def test_it_shows_the_log_and_ends_with_the_status_of_the_training(tmp_path, start):
  (tmp_path / "end").touch()
  process = start("--config", "my 'config'.py")
  printed, _ = process.communicate(timeout=30)
  assert process.returncode == 3
  assert printed == read_log(tmp_path) == f"{COMMAND}\nended\n"


def test_the_python_of_an_environment_on_the_hosts(tmp_path, start):
  (tmp_path / "my env").mkdir()
  (tmp_path / "python3").rename(tmp_path / "my env" / "python")
  (tmp_path / "end").touch()
  process = start("--config", "my 'config'.py", PYTHON="my env/python")
  assert process.communicate(timeout=30)[0] == f"{COMMAND}\nended\n"
  assert process.returncode == 3


def test_the_training_outlives_the_connection(tmp_path, start):
  process = start("--config", "my 'config'.py")
  assert read_log(tmp_path) == f"{COMMAND}\n"
  process.send_signal(signal.SIGHUP)
  assert process.wait(timeout=30) == -signal.SIGHUP
  process.stdout.close()
  time.sleep(0.5)
  (tmp_path / "end").touch()
  deadline = time.monotonic() + 30
  while not read_log(tmp_path).endswith("ended\n"):
    assert time.monotonic() < deadline
    time.sleep(0.05)
