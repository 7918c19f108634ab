"""The log that TensorBoard shows, written so that no failure of the disk stops a run."""

import os
import pathlib
import socket
import struct
import time
import warnings

import numpy as np
from tensorboardX import summary
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import masked_crc32c


class EventLog:
  """Writes numbers and pictures by step. What cannot be written waits in memory until it can.

  Of tensorboardX the formats alone: its own writer hands events to a thread, and once that has
  met a full disk it never returns.
  """

  def __init__(self, folder: pathlib.Path | None, *, first_step: int):
    """Begins a file.

    Args:
      folder: of the files of this run and of those before it; None writes nothing.
      first_step: what earlier files say of this step and later ones no longer holds; it is of
        steps that were lost.
    """
    self._path, self._file, self._waiting, self._told = None, None, bytearray(), False
    if folder is not None:
      # In one second a run may be started, killed and started again.
      name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
      self._path = folder / name
    self._add(file_version="brain.Event:2")
    self._add(step=first_step, session_log=event_pb2.SessionLog(
        status=event_pb2.SessionLog.SessionStatus.START))

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    self.flush()
    if self._file:
      self._file.close()

  def add_scalars(self, values: dict[str, float], step: int) -> None:
    """Writes numbers, each by its name."""
    for name, value in values.items():
      self._add(step=step, summary=summary.scalar(name, float(value)))

  def add_image(self, name: str, image: np.ndarray, step: int) -> None:
    """Writes an [h, w, 3] uint8 RGB picture."""
    self._add(step=step, summary=summary.image(name, image, dataformats="HWC"))

  def _add(self, **content):
    """Adds a record: length, its checksum, the event, its checksum."""
    if self._path:
      data = event_pb2.Event(wall_time=time.time(), **content).SerializeToString()
      length = struct.pack("<Q", len(data))
      self._waiting += b"".join((length, struct.pack("<I", masked_crc32c(length)), data,
                                 struct.pack("<I", masked_crc32c(data))))

  def flush(self) -> None:
    """Brings to the disk what was added; of what it cannot, it warns once and tries again."""
    if not self._path:
      return
    try:
      if self._file is None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab", buffering=0)
      while self._waiting:
        # It may take a part; the rest waits.
        del self._waiting[:self._file.write(self._waiting)]
    except OSError as error:
      if not self._told:
        self._told = True
        warnings.warn(f"the log could not be written ({error.strerror}); training goes on",
                      stacklevel=2)
