"""The log of a run, written so that no failure of the disk stops the run.

    workdir/metrics.jsonl                one object per step, {"step": 7, "train/loss": 1.5, ...},
                                         and one per validation; null is a value that is not finite
    workdir/logs/events.out.tfevents.*   the same and pictures, for TensorBoard

In cloud storage both are written at saves, validations and the end, and between them once a minute:
a run that is killed loses what it logged since then.
Writers of other programs get both too, see `log_writers`.
"""

from collections.abc import Mapping
import json
import math
import os
import pathlib
import socket
import struct
import sys
import time
from typing import Any, Self, cast
import warnings

import cv2
import numpy as np

from mnc_jax.config.paths import write_errors
from mnc_jax.training.log_files import open_file
from mnc_jax.training.log_writers import MetricWriter

# tensorboardX imports PyTorch where it is installed, which takes seconds and is not used here.
_without_torch = "torch" not in sys.modules
if _without_torch:
  sys.modules["torch"] = cast(Any, None)
try:
  from tensorboardX import summary
  from tensorboardX.proto import event_pb2, summary_pb2
  from tensorboardX.record_writer import masked_crc32c
finally:
  if _without_torch:
    del sys.modules["torch"]

# Its messages are made when it is imported.
_event_pb2: Any = event_pb2
_summary_pb2: Any = summary_pb2
_QUALITY = 85  # Of JPEG, 0 ... 100.


class MetricsLog:
  """Writes numbers and pictures by step.

  Only the formats are tensorboardX's: its SummaryWriter hands events to a thread, and never
  returns once that thread has met a full disk; its EventsWriter leaves half a record there, behind
  which TensorBoard reads nothing.
  """

  def __init__(self, workdir: pathlib.Path | None, *, first_step: int, tensorboard: bool = True,
               writers: Mapping[str, MetricWriter] | None = None):
    """Opens the log of a run.

    Args:
      workdir: folder of the run; None writes nothing.
      first_step: drops what an earlier program logged of this step and later ones, which it lost.
      tensorboard: whether TensorBoard's files are written.
      writers: what else is written to, by name; closed at the end. One that fails is dropped with
        a warning.
    """
    self._first_step, self._warned = first_step, False
    self._writers = dict(writers or {})
    self._metrics = open_file(workdir and workdir / "metrics.jsonl")
    # In one second a run may be started, killed and started again.
    name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
    self._events = open_file(workdir / "logs" / name if workdir and tensorboard else None,
                             header=_make_record(file_version="brain.Event:2"))
    self._metrics.cut(first_step, "")
    # TensorBoard, too, then drops these steps of older files.
    self._add_event(step=first_step, session_log=_event_pb2.SessionLog(
        status=_event_pb2.SessionLog.SessionStatus.START))

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *unused: object) -> None:
    self.flush()
    self._forward("close")

  def add_scalars(self, values: dict[str, float], step: int) -> None:
    """Adds all numbers of a step, or of its validation, by name."""
    if step < self._first_step:  # The validation that was interrupted is made again.
      self._metrics.cut(step, next(iter(values)))
    values = {name: float(value) for name, value in values.items()}
    finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
    self._metrics.add(json.dumps({"step": step} | finite).encode() + b"\n")
    for name, value in values.items():
      self._add_event(step=step, summary=summary.scalar(name, value))
    self._forward("write_scalars", step, values)

  def add_image(self, name: str, image: np.ndarray, step: int) -> None:
    """Adds an [h, w, 3] uint8 RGB picture, as JPEG for TensorBoard."""
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    height, width = image.shape[:2]
    picture = _summary_pb2.Summary.Image(
        height=height, width=width, colorspace=3, encoded_image_string=encoded.tobytes())
    self._add_event(step=step, summary=_summary_pb2.Summary(
        value=[_summary_pb2.Summary.Value(tag=name, image=picture)]))
    self._forward("write_images", step, {name: image[np.newaxis]})

  def _forward(self, method, *arguments):
    """Calls a method of each writer."""
    for name, writer in list(self._writers.items()):
      try:
        getattr(writer, method)(*arguments)
      except Exception as error:  # Whatever it is, it must not stop the training.
        del self._writers[name]
        warnings.warn(f"logging to {name} failed, and ends ({type(error).__name__}: {error}); "
                      "training continues", stacklevel=3)

  def _add_event(self, **content):
    self._events.add(_make_record(**content))

  def flush(self, *, now: bool = True) -> None:
    """Writes what was added; if that fails, warns once and tries again the next time.

    Args:
      now: False leaves files in cloud storage for a minute.
    """
    for file in (self._metrics, self._events):
      try:
        file.flush(now=now)
      except write_errors(file.path) as error:
        if not self._warned:
          self._warned = True
          reason = getattr(error, "strerror", None) or error
          warnings.warn(f"the log could not be written ({reason}); training continues, and tries "
                        "again", stacklevel=2)
    self._forward("flush")


def _make_record(**content):
  """Returns a record of TensorBoard: length, its checksum, the event, its checksum."""
  data = _event_pb2.Event(wall_time=time.time(), **content).SerializeToString()
  length = struct.pack("<Q", len(data))
  return b"".join((length, struct.pack("<I", masked_crc32c(length)), data,
                   struct.pack("<I", masked_crc32c(data))))
