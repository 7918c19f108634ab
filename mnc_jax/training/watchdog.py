"""Ends a program that makes no progress, instead of letting it wait in silence."""

import math
import os
import sys
import threading
import time


class Watchdog:
  """A thread that ends the program when too long nothing has been heard from it.

  For several hosts: they wait for each other at every step, and if one hangs, all do, inside of
  a call that returns never and raises nothing.
  """

  def __init__(self, seconds: float, advice: str):
    """Starts to watch.

    Args:
      seconds: between two signs of life; 0 watches nothing.
      advice: the rest of the message.
    """
    self._seconds, self._advice, self._last = seconds, advice, time.monotonic()
    if seconds:
      threading.Thread(target=self._watch, daemon=True).start()

  def beat(self) -> None:
    """Gives a sign of life."""
    self._last = time.monotonic()

  def stop(self) -> None:
    """Watches no longer."""
    self._seconds = math.inf

  def _watch(self):
    while (silent := time.monotonic() - self._last) < self._seconds:
      time.sleep(min(self._seconds - silent, 1))
    print(f"No progress for {silent:.0f} seconds: {self._advice}", file=sys.stderr, flush=True)
    # The main thread cannot be interrupted where it waits.
    os._exit(1)
