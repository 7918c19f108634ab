"""How the program ends: with a message and a status for what users can help, else a traceback."""

import gc
import os
import signal
import subprocess
import sys
import time

import jax
import pytest

from mnc_jax.cli.errors import end_with_message
from mnc_jax.cli.parse import ConfigError, UsageError


def end(error, capsys):
  """Runs a program that raises an error; returns its status and what it printed."""
  def fail():
    raise error
  with pytest.raises(SystemExit) as stopped:
    end_with_message(fail, program="mnc train", details=" --config shapes")
  # Python prints a text as status, and ends with 1.
  return stopped.value.code, capsys.readouterr().err


@pytest.fixture(autouse=True)
def _restore_hooks(monkeypatch):
  monkeypatch.setattr("warnings.formatwarning", None)
  monkeypatch.setattr("sys.unraisablehook", None)
  monkeypatch.setattr(os, "_exit", sys.exit)
  monkeypatch.delenv("MNC_TRACEBACK", raising=False)


def test_an_error_does_not_start_the_backend(capsys, monkeypatch):
  def start():
    raise AssertionError("no such backend")
  monkeypatch.setattr("jax.process_count", start)
  status, printed = end(OSError("runs/mine: no such folder"), capsys)
  assert "no such folder" in str(status) + printed


def test_a_wrong_command_line_ends_with_2_and_the_help(capsys):
  assert end(UsageError("x is -1"), capsys) == (
      2, "mnc train: x is -1\nAll options: mnc train --config shapes --help\n")
  # Of what is no config no help can be shown.
  assert end(ConfigError("no config"), capsys)[1].endswith("All options: mnc train --help\n")


@pytest.mark.parametrize(("error", "message"), [
    (OSError("no space"), "mnc train: no space\n(MNC_TRACEBACK=1"),
    (ImportError("Please install gcsfs to access Google Storage"),
     "access Google Storage: pip install 'mnc_jax[gcs]'"),
    (ImportError("Install s3fs to access S3"), "pip install 'mnc_jax[s3]'"),
    (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GB\nmore"),
     "the memory of a device is too small: lower data.batch_size")])
def test_what_users_can_help_ends_with_a_message(capsys, error, message):
  status, _ = end(error, capsys)
  assert message in status


@pytest.mark.parametrize("error", [
    TypeError("a bug"), ImportError("cannot import name 'x'"), jax.errors.JaxRuntimeError("?")])
def test_other_errors_keep_their_traceback(error):
  def fail():
    raise error
  with pytest.raises(type(error)):
    end_with_message(fail, program="mnc train")


@pytest.mark.parametrize(("error", "message"), [
    (KeyboardInterrupt(), "Interrupted.\n"),
    (KeyboardInterrupt("Interrupted at step 3."), "Interrupted at step 3.\n")])
def test_ctrl_c_ends_without_the_usual_end_of_python(capsys, error, message):
  # `sys.exit` would free the devices for which a thread of JAX may still compile.
  assert end(error, capsys) == (1, message)


def test_ctrl_c_while_an_extension_module_is_imported(capsys):
  # As in an import of jaxlib.
  error = ImportError("Encountered an error while initializing the extension.")
  error.__cause__ = KeyboardInterrupt()
  assert end(error, capsys) == (1, "Interrupted.\n")


def test_ctrl_c_in_a_callback_of_the_garbage_collector_is_not_dropped(capsys):
  interruptions = [signal.SIGINT]

  def interrupted(phase, info):
    if interruptions:
      signal.raise_signal(interruptions.pop())

  def collect():
    gc.collect()
    assert not interruptions
    time.sleep(10)

  # A shell's background jobs ignore Ctrl-C.
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  gc.callbacks.append(interrupted)
  try:
    with pytest.raises(SystemExit) as stopped:
      end_with_message(collect, program="mnc predict")
  finally:
    gc.callbacks.remove(interrupted)
    signal.signal(signal.SIGINT, before)
  assert (stopped.value.code, capsys.readouterr().err) == (1, "Interrupted.\n")


def test_a_traceback_can_be_asked_for(monkeypatch):
  def fail():
    raise OSError("no space")
  monkeypatch.setenv("MNC_TRACEBACK", "1")
  with pytest.raises(OSError, match="no space"):
    end_with_message(fail, program="mnc train")


def test_a_closed_pipe_ends_quietly():
  program = subprocess.Popen([sys.executable, "-m", "mnc_jax", "train", "--help"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
  program.stdout.close()
  assert program.stderr.read() == b""
  program.stderr.close()
  assert program.wait() == 1
