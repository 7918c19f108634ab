"""Frames of video files and cameras, by OpenCV."""

from collections.abc import Iterator
import contextlib
import pathlib
import struct
from typing import Any, NamedTuple
import warnings

import cv2
import numpy as np

from mnc_jax.data.records import BrokenImageError

_USUAL_RATE = 25.0  # Frames per second, of sources that name none.
# WebM of browsers counts in milliseconds, and names 1000 frames per second if it names none.
_FASTEST = 999.0
_SILENT = 0  # OpenCV's LOG_LEVEL_SILENT.
# Share of the frames that may be missing at the end: some containers only estimate their number.
_LEAST_SHARE = 0.98


class Video(NamedTuple):
  """A video that was opened.

  Attributes:
    name: of the source, for messages.
    frame_rate: frames per second.
    num_frames: number that the file claims, 0 if it names none; cameras have none.
    frames: each [h, w, 3] uint8 RGB, upright, in their order; can be read once.
  """
  name: str
  frame_rate: float
  num_frames: int
  frames: Iterator[np.ndarray]


@contextlib.contextmanager
def open_video(source: pathlib.Path | int) -> Iterator[Video]:
  """Opens a video file, or the camera of a number, and closes it in the end.

  Damaged frames are repaired as well as FFmpeg can, which prints what it finds, or left out.

  Args:
    source: path of a file, or number of a camera, from 0.

  Yields:
    `Video`. Its `frames` raise BrokenImageError in the end if a file has much fewer than it claims,
    or warn if it may be trimmed: the list of edits of an MP4 or MOV hides frames that are there.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it cannot be opened, or has no frame.
  """
  if isinstance(source, pathlib.Path) and not source.is_file():
    raise FileNotFoundError(f"{source}: no such video")
  with _quiet():
    # A bare name with a colon, such as 10:30.mp4, would be an address to FFmpeg.
    capture = cv2.VideoCapture(source if isinstance(source, int) else str(source.absolute()))
  try:
    found, first = capture.read() if capture.isOpened() else (False, None)
    if not found or first is None:
      raise ValueError(_describe_unreadable(source, capture.isOpened()))
    rate = capture.get(cv2.CAP_PROP_FPS)
    has_rate = 0 < rate <= _FASTEST
    # Many containers have no number of frames: it is their duration by the rate.
    has_count = has_rate and not isinstance(source, int)
    count = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0) if has_count else 0
    name = f"camera {source}" if isinstance(source, int) else str(source)
    yield Video(name, rate if has_rate else _USUAL_RATE, count,
                _read_frames(capture, first, source, count))
  finally:
    capture.release()


def _read_frames(capture, frame, source, count):
  number = 0
  while frame is not None:
    yield _to_rgb(frame)
    number += 1
    found, frame = capture.read()
    frame = frame if found else None
  if number < _LEAST_SHARE * count - 1:
    message = f"{source}: only {number} of its {count} frames could be decoded: it is "
    if not _is_complete_mp4(source):
      raise BrokenImageError(f"{message}damaged or truncated")
    warnings.warn(f"{message}trimmed, as phones and editors do without removing frames, or damaged",
                  stacklevel=2)


def _is_complete_mp4(path):
  """Returns whether a file is an MP4 or MOV whose last box ends where the file does, or before."""
  position, size, kinds = 0, path.stat().st_size, []
  with path.open("rb") as file:
    while position + 8 <= size:
      file.seek(position)
      length, kind, long = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
      kinds.append(kind)
      # 1: the length comes after the kind. 0: the box ends with the file.
      length = {0: size - position, 1: long}.get(length, length)
      position += max(length, 8)
  return b"moov" in kinds and position <= size


def _to_rgb(frame):
  if frame.ndim == 2:
    frame = frame[..., None]
  return np.ascontiguousarray(np.broadcast_to(frame[..., ::-1], (*frame.shape[:2], 3)))


def _describe_unreadable(source, is_open):
  if isinstance(source, pathlib.Path):
    return (f"{source}: no frame of it can be decoded: it is no video, damaged, or in a codec that "
            "OpenCV does not read")
  if is_open:
    return f"camera {source} gives no images: is another program using it?"
  return (f"camera {source} cannot be opened: is it connected (the first one is 0), may you read "
          "it (on Linux /dev/video*, group video), and is no other program using it?")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps OpenCV from printing why it cannot open something: our message says it."""
  # OpenCV 5 has moved these functions.
  levels: Any = getattr(cv2.utils, "logging", cv2)
  before = levels.getLogLevel()
  levels.setLogLevel(_SILENT)
  try:
    yield
  finally:
    levels.setLogLevel(before)
