"""SIGTERM, by which clusters announce that they take a machine away: save, and end."""

import os
import signal
import socket
import sys
import threading

from mnc_jax import parallel


class Termination:
  """Handles SIGTERM.

  Python runs signal handlers between two instructions of the main thread, which a compilation
  blocks for minutes. So another thread receives the signal, and ends the program at once where
  nothing would be lost: before the first step, and while a saved state is validated. On several
  hosts JAX receives the signal, and finds a step after which all of them can end.

  Attributes:
    requested: this process got the signal; on several hosts only `reached` answers for all.
    ended: whether `reached` was True, so that the run ended because of the signal.
  """

  def __init__(self):
    self.requested, self.ended, self._nothing_to_lose = False, False, True
    if parallel.process_count() == 1:
      self._signals, self._written = socket.socketpair()
      self._written.setblocking(False)
      signal.signal(signal.SIGTERM, lambda number, frame: None)
      # The handler of the system writes the signal's number there, whatever Python does.
      signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
      threading.Thread(target=self._listen, daemon=True).start()

  def _listen(self):
    while number := self._signals.recv(1):
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
