"""The claim on the folder of a run, and the errors when nothing can be written there."""

import errno
import fcntl
import os
import pathlib
import subprocess
import sys

import pytest

from mnc_jax.training import run_folder
from mnc_jax.training.run_folder import claim, describe_owner

_HOLD = """
import sys, time
from mnc_jax.training.run_folder import claim
with claim(sys.argv[1]):
  print("held", flush=True)
  time.sleep(600)
"""


_WITHOUT_FCNTL = """
import sys
sys.modules["fcntl"] = None  # As on Windows.
from mnc_jax.cli import train
from mnc_jax.training.run_folder import claim, describe_owner
with claim(sys.argv[1]):
  print(describe_owner(sys.argv[1]))
"""


@pytest.fixture
def other_program(tmp_path):
  """A program that has claimed a folder."""
  workdir = tmp_path / "run"
  environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
  with subprocess.Popen([sys.executable, "-c", _HOLD, str(workdir)], text=True,
                        stdout=subprocess.PIPE, env=environment) as process:
    assert process.stdout.readline() == "held\n"
    yield process, workdir
    process.kill()


def test_a_second_run_is_rejected_and_the_first_is_named(other_program):
  process, workdir = other_program
  with (pytest.raises(OSError, match=rf"another run .* \(process {process.pid} on .* --workdir"),
        claim(workdir)):
    pass


def test_a_program_that_was_killed_holds_nothing(other_program):
  process, workdir = other_program
  process.kill()
  process.wait()
  with claim(workdir):
    assert describe_owner(workdir).startswith(f"process {os.getpid()} on ")


def test_a_claim_ends_and_can_be_made_again(tmp_path):
  for _ in range(2):
    with claim(tmp_path / "new" / "run"):
      pass
  assert describe_owner(tmp_path) == ""


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(OSError, match="written to --workdir .*/file/run .Not a directory"), claim(
      tmp_path / "file" / "run"):
    pass


def test_a_read_only_or_full_disk_is_reported_before_anything_else(tmp_path, monkeypatch):
  def fail(*arguments):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))
  monkeypatch.setattr(pathlib.Path, "open", fail)
  with pytest.raises(OSError, match=r"nothing can be written to .* \(Read-only file system\)"), (
      claim(tmp_path)):
    pass


def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch):
  def fail(*arguments):
    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
  monkeypatch.setattr(fcntl, "flock", fail)
  with pytest.warns(UserWarning, match="cannot be locked .*no other run"), claim(tmp_path):
    assert describe_owner(tmp_path)


def test_without_fcntl_the_library_works_and_warns_once(tmp_path):
  done = subprocess.run(
      [sys.executable, "-c", _WITHOUT_FCNTL, str(tmp_path)], text=True, capture_output=True,
      check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
  assert done.stdout.startswith("process ")
  assert done.stderr.count(f"{tmp_path} cannot be locked") == 1


def test_a_disk_too_small_for_the_checkpoints_is_rejected_with_both_sizes(tmp_path):
  run_folder.check_space(tmp_path, needed=1000)
  with pytest.raises(OSError, match=r"has [\d,]+ MB free, .* need 1,000,000,000,000 MB"):
    run_folder.check_space(tmp_path, needed=10**18)
