"""What progress bars show while nothing moves."""

from collections.abc import Iterator
import contextlib
import threading

from tqdm.auto import tqdm

_DELAY = 1.0  # Seconds. What was compiled before, in this process or in JAX's cache, takes less.


@contextlib.contextmanager
def compiling(bar: tqdm, *, first: bool) -> Iterator[None]:
  """Shows on a bar that a program is being compiled, if it runs for the first time in here.

  Args:
    bar: that stands still for so long.
    first: False changes nothing.
  """
  if not first:
    yield
    return
  timer = threading.Timer(_DELAY, bar.set_postfix_str, ["compiling, about a minute"])
  timer.start()
  try:
    yield
  finally:
    timer.cancel()
    timer.join()
    bar.set_postfix_str("", refresh=False)
