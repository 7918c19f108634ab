"""SIGTERM, by which clusters announce that they take a machine away: save, and end."""

import contextlib
import os
import signal
import socket
import sys
import threading
from typing import Self

from mnc_jax import parallel


class Termination:
  """Handles SIGTERM inside a `with` block; afterwards the signal does what it did before.

  Python runs signal handlers between two instructions of the main thread, which a compilation
  blocks for minutes. So another thread receives the signal, and ends the program at once where
  nothing would be lost: before the first step, and while a saved state is validated. On several
  hosts JAX receives the signal, and finds a step after which all of them can end. Only the main
  thread can take signals over: in another one they stay as they are.

  Attributes:
    requested: this process got the signal; on several hosts only `reached` answers for all.
    ended: whether `reached` was True, so that the run ended because of the signal.
  """

  def __init__(self):
    self.requested, self.ended, self._nothing_to_lose = False, False, True
    self._on_exit = contextlib.ExitStack()

  def __enter__(self) -> Self:
    if parallel.process_count() == 1 and threading.current_thread() is threading.main_thread():
      self._take_over()
    return self

  def __exit__(self, *error: object) -> None:
    self._on_exit.close()

  def _take_over(self):
    signals, written = socket.socketpair()
    self._on_exit.callback(written.close)  # The thread reads the end of the stream.
    written.setblocking(False)
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    self._on_exit.callback(signal.signal, signal.SIGTERM, before or signal.SIG_DFL)
    # The handler of the system writes the signal's number there, whatever Python does.
    descriptor = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
    self._on_exit.callback(signal.set_wakeup_fd, descriptor)
    threading.Thread(target=self._listen, args=(signals,), daemon=True).start()

  def _listen(self, signals):
    with signals:
      while number := signals.recv(1):
        if number[0] == signal.SIGTERM:
          self.requested = True
          self._end_if_possible()

  def _end_if_possible(self):
    if self.requested and self._nothing_to_lose:
      print("Stopped by SIGTERM. Nothing is lost: the same command resumes.", file=sys.stderr,
            flush=True)
      # Not sys.exit: the main thread may be deep in a compilation.
      os._exit(0)

  def nothing_to_lose(self, yes: bool) -> None:
    """Sets whether the program may end at any moment from here on."""
    self._nothing_to_lose = yes
    self._end_if_possible()

  def reached(self, step: int) -> bool:
    """Returns whether to save and end after this step; call it at every step, on all hosts."""
    self.ended = self.requested or parallel.must_end(step)
    return self.ended
