"""The processes that load batches end with the process that trains: neither before nor after."""

import multiprocessing
import os
import signal
import threading


def follow_parent(index: int, count: int) -> None:
  """Makes a worker process leave signals to its parent, and end when that has ended.

  Clusters send SIGTERM, and terminals Ctrl-C, to all processes of a run, of which the parent still
  needs batches until it has saved. Where it ends at once, nobody else ends the workers. Grain does
  not stop them by signals, except SIGKILL.

  Args:
    index: of the worker, as grain gives it; unused.
    count: of the workers; unused.
  """
  del index, count
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
  parent = multiprocessing.parent_process()
  assert parent
  parent.join()
  os._exit(0)
