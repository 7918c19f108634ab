"""How the program ends when something is wrong: with a message for people, and a status."""

from collections.abc import Callable
import os
import signal
import sys
import threading
import traceback
from typing import Any
import warnings

from mnc_jax.cli.parse import ConfigError, UsageError

# What etils and Orbax need for cloud storage, and the extra of ours that installs it.
_EXTRAS = {"gcsfs": "gcs", "google.cloud": "gcs", "s3fs": "s3"}
_format_with_position = warnings.formatwarning


def end_with_message(function: Callable, *arguments: Any, program: str, details: str = "") -> None:
  """Runs a function; errors of the user end the program with their message, not a traceback.

  The status is 2 for a command line that cannot be run, and 1 for all else.

  Args:
    function: the program.
    *arguments: of the function.
    program: its name in messages.
    details: options that --help needs to explain the others with their defaults.
  """
  warnings.formatwarning, sys.unraisablehook = _format_warning, _report_unraisable
  try:
    try:
      function(*arguments)
    finally:
      sys.stdout.flush()  # Here, not at the exit of Python, a closed pipe can be handled.
  except UsageError as error:
    details = "" if isinstance(error, ConfigError) else details
    print(f"{program}: {error}\nAll options: {program}{details} --help", file=sys.stderr)
    sys.exit(2)
  except BrokenPipeError:
    # The reader of our output has ended, as `head` does. Nothing more can be written there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
  except KeyboardInterrupt as interruption:
    _end_at_once(str(interruption) or "Interrupted.")
  except Exception as error:
    if _is_interruption(error):
      _end_at_once("Interrupted.")
    reason = _describe(error)
    if os.environ.get("MNC_TRACEBACK") or reason is None:
      _end_if_several(traceback.format_exc())
      raise
    message = f"{program}: {reason}\n(MNC_TRACEBACK=1 shows where in the code this was found.)"
    _end_if_several(message)
    sys.exit(message)


def _describe(error):
  """Returns the message of an error that a user can do something about, None for any other."""
  jax = sys.modules.get("jax")
  if jax and isinstance(error, jax.errors.JaxRuntimeError):
    return _describe_runtime_error(error, jax.process_count())
  if isinstance(error, ImportError):
    extras = {extra for library, extra in _EXTRAS.items() if library in str(error)}
    return f"{error}: pip install 'mnc_jax[{extras.pop()}]'" if extras else None
  expected = OSError, ValueError, FloatingPointError
  return str(error) if isinstance(error, expected) else None


def _describe_runtime_error(error, process_count):
  first = str(error).splitlines()[0][:200]
  if "RESOURCE_EXHAUSTED" in first:
    return ("the memory of a device is too small: lower data.batch_size (in evaluation "
            f"data.eval_batch_size), model.roi_chunk or the sizes of data.buckets ({first})")
  if process_count > 1:
    return ("another host died or is unreachable; the same command on all hosts resumes from the "
            f"last checkpoint ({first})")
  return None


def _is_interruption(error):
  """Returns whether an error follows from Ctrl-C."""
  # An extension module that is being imported makes an ImportError of it.
  while error := error.__cause__ or error.__context__:
    if isinstance(error, KeyboardInterrupt):
      return True
  return False


def _end_at_once(message):
  """Ends this process with status 1, without the usual end of Python.

  That frees JAX's devices. After Ctrl-C a thread of JAX may still compile for them, which then is
  a segmentation fault.
  """
  print(message, file=sys.stderr, flush=True)
  os._exit(1)


def _end_if_several(message):
  """Ends this process at once, if it is one of several.

  The usual end of a program waits for all hosts, and those that wait for this one in a step never
  reach it.
  """
  jax = sys.modules.get("jax")
  # The number of processes alone would start the backend, which may be what is wrong.
  if jax and jax.distributed.is_initialized() and jax.process_count() > 1:
    _end_at_once(message)


def _format_warning(message, category, *position):
  # Where in the code it was raised helps only with the warnings of other libraries.
  return (f"warning: {message}\n" if category is UserWarning
          else _format_with_position(message, category, *position))


def _report_unraisable(unraisable):
  if unraisable.exc_type is KeyboardInterrupt:
    _interrupt_again()
  # After a failed write the storage library calls event loops that are closed; the error of the
  # write itself is raised.
  elif str(unraisable.exc_value) != "Event loop is closed":
    sys.__unraisablehook__(unraisable)


def _interrupt_again():
  """Repeats Ctrl-C a moment later."""
  # Python drops what is raised in a callback of its garbage collector, of which JAX has one.
  timer = threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
  timer.daemon = True
  timer.start()
