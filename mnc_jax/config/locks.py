"""Locks on files, which the system releases when the program ends, however that happens."""

from typing import IO


def try_lock(file: IO) -> str:
  """Locks an open file against other programs.

  Returns:
    "" if it is locked, else why nothing can be locked there.

  Raises:
    BlockingIOError: if another program has locked it.
  """
  try:
    import fcntl  # Windows has none.
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    raise
  except (ImportError, OSError) as error:
    # Some network file systems have no locks.
    return str(getattr(error, "strerror", error))
  return ""
