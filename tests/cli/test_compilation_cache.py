"""Commands keep compiled programs in the user's cache folder, and work where that is impossible."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from mnc_jax import cli
from mnc_jax.cli.commands import COMPILING
from mnc_jax.cli.compilation_cache import (
  MAX_BYTES,
  folder_of_programs,
  keep_compiled_programs,
  remove_oldest,
)

NAMES = ("jax_compilation_cache_dir", "jax_enable_compilation_cache")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
  """An empty home directory, and JAX as it is where nothing is configured."""
  before = {name: getattr(jax.config, name) for name in NAMES}
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  for name, value in zip(NAMES, (None, True), strict=True):
    jax.config.update(name, value)
  yield tmp_path
  for name, value in before.items():
    jax.config.update(name, value)


def test_the_folder_is_private_named_to_jax_and_reported_when_it_is_new(home, capsys):
  folder = home / ".cache" / "mnc_jax" / "compiled"
  keep_compiled_programs()
  assert jax.config.jax_compilation_cache_dir == str(folder)
  assert folder.stat().st_mode & 0o777 == 0o700
  assert capsys.readouterr().err == (
      f"Compiled programs are kept in {folder}, so that the next start is faster.\n")
  jax.config.update("jax_compilation_cache_dir", None)
  keep_compiled_programs()
  assert jax.config.jax_compilation_cache_dir == str(folder)
  assert "".join(capsys.readouterr()) == ""


def test_the_cache_folder_of_the_desktop_is_used_if_it_is_absolute(home, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(home / "caches"))
  assert folder_of_programs() == home / "caches" / "mnc_jax" / "compiled"
  monkeypatch.setenv("XDG_CACHE_HOME", "caches")
  assert folder_of_programs() == home / ".cache" / "mnc_jax" / "compiled"


@pytest.mark.parametrize(("name", "value", "used"), [
    ("jax_compilation_cache_dir", "/elsewhere", "/elsewhere"),
    ("jax_compilation_cache_dir", "", None),
    ("jax_enable_compilation_cache", False, None)])
def test_what_is_configured_stays(home, capsys, name, value, used):
  jax.config.update(name, value)
  keep_compiled_programs()
  assert jax.config.jax_compilation_cache_dir == used
  assert not list(home.iterdir())
  assert "".join(capsys.readouterr()) == ""


def no_home():
  raise RuntimeError("Could not determine home directory.")


def full_disk(**unused):
  raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("fault", "reason"), [
    ("file", "Not a directory"), ("no home", "Could not determine home directory"),
    ("full disk", "No space left on device")])
def test_a_folder_that_cannot_be_written_is_one_sentence(home, monkeypatch, capsys, fault, reason):
  if fault == "file":
    (home / ".cache").write_text("")
  elif fault == "no home":
    monkeypatch.setattr(pathlib.Path, "home", no_home)
  else:
    monkeypatch.setattr("tempfile.TemporaryFile", full_disk)
  keep_compiled_programs()
  assert jax.config.jax_compilation_cache_dir is None
  printed = capsys.readouterr()
  assert printed.err.startswith("Compiled programs are not kept, so every start compiles them: ")
  assert reason in printed.err
  assert printed.err.count("\n") == 1
  assert printed.out == ""


def test_the_programs_not_used_for_longest_are_removed(tmp_path):
  assert MAX_BYTES == 2e9
  for name, read, written in (("a", 50, 10), ("b", 20, 20), ("c", 30, 30), ("d", 5, 40)):
    path = tmp_path / f"jit_{name}-cache"
    path.write_bytes(bytes(100))
    os.utime(path, (read, written))
  (tmp_path / "autotune").write_bytes(bytes(1000))
  remove_oldest(tmp_path, max_bytes=400)
  assert len(list(tmp_path.iterdir())) == 5
  remove_oldest(tmp_path, max_bytes=299)
  assert {path.name for path in tmp_path.iterdir()} == {"jit_a-cache", "jit_d-cache", "autotune"}


@pytest.mark.parametrize("command", ["predict", "score"])
def test_commands_that_run_a_model_keep_their_programs(home, command):
  assert {"train", "evaluate", "predict", "export", "import-weights", "replay"} == COMPILING
  lines = {"predict": ["--weights", f"{home}/none.safetensors", "--self-check"],
           "score": ["--protocol", "coco", "--ground-truth", f"{home}/none.json", "--results",
                     f"{home}/none.json"]}
  with pytest.raises((OSError, ValueError), match=r"none\."):
    cli.call(command, lines[command])
  assert folder_of_programs().exists() == (command == "predict")


START = """
import mnc_jax, mnc_jax.cli, jax
from mnc_jax.cli.compilation_cache import keep_compiled_programs
mnc_jax.load, mnc_jax.nms, mnc_jax.train_step
assert jax.config.jax_compilation_cache_dir is None
keep_compiled_programs()
found = []
jax.monitoring.register_event_listener(lambda event, **unused: found.append(event))
jax.jit(lambda x: x * 3 + 1)(2.0)
print(found.count("/jax/compilation_cache/cache_hits"),
      found.count("/jax/compilation_cache/cache_misses"))
"""


def test_the_second_process_compiles_nothing_and_the_library_alone_keeps_nothing():
  environment = {name: value for name, value in os.environ.items()
                 if name != "JAX_COMPILATION_CACHE_DIR"} | {
      "JAX_ENABLE_COMPILATION_CACHE": "true", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
  printed = [subprocess.run([sys.executable, "-c", START], env=environment, check=True, text=True,
                            capture_output=True).stdout.split() for _ in range(2)]
  assert printed == [["0", "1"], ["1", "0"]]
