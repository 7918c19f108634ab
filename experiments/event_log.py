"""The log that TensorBoard shows, written so that no failure of the disk stops a run."""

import os
import pathlib
import time
import warnings

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2


class EventLog:
  """Writes numbers and pictures by step. What cannot be written is warned of, once.

  Of tensorboardX the formats alone: its own writer hands events to a thread, and once that has
  met a full disk it never returns.
  """

  def __init__(self, folder: pathlib.Path, *, first_step: int):
    """Opens a new file.

    Args:
      folder: of the files of this run and of those before it; None writes nothing.
      first_step: what earlier files say of this step and later ones no longer holds; it is of
        steps that were lost.
    """
    self._file, self._told = None, False
    if folder is not None:
      self._attempt(lambda: self._open(folder))
      self._write(first_step, session_log=event_pb2.SessionLog(
          status=event_pb2.SessionLog.SessionStatus.START))

  def _open(self, folder):
    folder.mkdir(parents=True, exist_ok=True)
    # The name has the second in it, in which another run may have been started and killed.
    self._file = EventsWriter(str(folder / "events"), filename_suffix=f".{os.getpid()}")

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    if self._file:
      self._attempt(self._file.close)

  def add_scalars(self, values: dict[str, float], step: int) -> None:
    """Writes numbers, each by its name."""
    for name, value in values.items():
      self._write(step, summary=summary.scalar(name, float(value)))

  def add_image(self, name: str, image: np.ndarray, step: int) -> None:
    """Writes an [h, w, 3] uint8 RGB picture."""
    self._write(step, summary=summary.image(name, image, dataformats="HWC"))

  def flush(self) -> None:
    """Brings what was written to the disk."""
    if self._file:
      self._attempt(self._file.flush)

  def _write(self, step, **content):
    event = event_pb2.Event(step=step, wall_time=time.time(), **content)
    if self._file:
      self._attempt(lambda: self._file.write_event(event))

  def _attempt(self, write):
    try:
      write()
    except OSError as error:
      if not self._told:
        self._told = True
        warnings.warn(f"the log could not be written ({error.strerror}); training goes on",
                      stacklevel=3)
