"""SIGTERM during a training and after it."""

import os
import signal
import threading
import time

from mnc_jax.training.preemption import Termination


def test_after_a_training_sigterm_does_what_it_did_before():
  received, threads = [], threading.active_count()
  outer = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
  try:
    with Termination() as termination:
      termination.nothing_to_lose(False)
      os.kill(os.getpid(), signal.SIGTERM)
      wait_for(lambda: termination.requested)
      assert termination.reached(1) and received == []
    os.kill(os.getpid(), signal.SIGTERM)
    wait_for(lambda: received)
  finally:
    signal.signal(signal.SIGTERM, outer)
  assert received == [signal.SIGTERM]
  assert signal.set_wakeup_fd(-1) == -1
  wait_for(lambda: threading.active_count() == threads)


def test_in_another_thread_signals_stay_as_they_are():
  outer, found = signal.getsignal(signal.SIGTERM), []

  def enter():
    with Termination() as termination:
      found.append((signal.getsignal(signal.SIGTERM), termination.reached(1)))

  thread = threading.Thread(target=enter)
  thread.start()
  thread.join()
  assert found == [(outer, False)]


def wait_for(condition):
  end = time.monotonic() + 20
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.01)
