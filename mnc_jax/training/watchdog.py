"""Ends a program that makes no progress, with the stack of where it hangs."""

from collections.abc import Iterator
import contextlib
import faulthandler
import sys
import threading

from mnc_jax import parallel
from mnc_jax.config import Config

_STDERR = 2  # What sys.stderr is replaced by, in notebooks and tests, may have no file descriptor.


class Watchdog:
  """Ends the program with status 1 if `beat` is not called in time.

  A hung host blocks all others inside a collective, which never returns and which no Python code
  can interrupt. faulthandler writes the stacks and ends the program from a thread that needs no
  lock of Python's. It cannot write our message, so a thread of Python does, a second earlier.
  """

  def __init__(self, seconds: float, advice: str):
    """Starts to watch.

    Args:
      seconds: between two beats; 0 watches nothing.
      advice: the rest of the message.
    """
    self._seconds, self._timer = seconds, None
    self._message = f"No progress for {seconds:.0f} seconds: {advice}"
    self.beat()

  def beat(self) -> None:
    """Reports progress."""
    self.stop()
    if self._seconds:
      self._timer = threading.Timer(
          self._seconds, lambda: print(self._message, file=sys.stderr, flush=True))
      self._timer.daemon = True
      self._timer.start()
      faulthandler.dump_traceback_later(self._seconds + 1, exit=True, file=_STDERR)

  def stop(self) -> None:
    """Stops watching."""
    if self._timer:
      self._timer.cancel()
      faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def watch(config: Config) -> Iterator[Watchdog]:
  """Watches several hosts, which wait for each other; a single one is not watched."""
  seconds = 60 * config.train.hang_minutes if parallel.process_count() > 1 else 0
  watchdog = Watchdog(
      seconds, "a host hangs, or train.hang_minutes is too short. The same command on all hosts "
      "resumes from the last checkpoint.")
  try:
    yield watchdog
  finally:
    watchdog.stop()
