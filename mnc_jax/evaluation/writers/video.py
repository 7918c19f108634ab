"""NAME.mp4: the frames of a video with their confident instances drawn."""

from collections.abc import Iterator
import contextlib
import pathlib
import time

import cv2
import numpy as np

from mnc_jax.config.paths import is_remote
from mnc_jax.evaluation.visualize import draw_instances
from mnc_jax.evaluation.writers.found import Found, Target, Writer

# MPEG-4 part 2. OpenCV's wheels have no encoder for H.264, and the one for VP9 takes 0.5 s for a
# frame of 1280 x 720, this one 15 ms.
_CODEC = "mp4v"


def list_files(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
  """Returns the files of a video called `name`."""
  return [folder / f"{name}.mp4"]


@contextlib.contextmanager
def open_writer(target: Target, name: str) -> Iterator[Writer]:
  """Yields a function that adds a frame to the video `name`.

  All frames get the size of the first one's picture. Frames that come live are repeated, so that
  the video takes as long as what it shows.

  Raises:
    ValueError: if the file cannot be written, or in the end is not complete.
  """
  (path,) = list_files(target.folder, name)
  if is_remote(path):
    raise ValueError(f"{path}: a video is only written to a local path: give another --output, or "
                     "--write without video")
  videos, added, size, start = [], 0, (0, 0), 0.0
  def write(found: Found) -> None:
    nonlocal added, size, start
    picture = draw_instances(found.pixels, found.confident, target.category_names)
    if not videos:
      size, start = picture.shape[1::-1], time.monotonic()
      videos.append(_open(path, target.frame_rate, size))
    picture = np.ascontiguousarray(cv2.resize(picture, size)[..., ::-1])
    due = round((time.monotonic() - start) * target.frame_rate) if target.is_live else 0
    for _ in range(max(due + 1 - added, 1)):
      videos[0].write(picture)
      added += 1
  try:
    yield write
  finally:
    for video in videos:
      video.release()
  if added:
    _check(path, added)


def _open(path, frame_rate, size):
  codec = cv2.VideoWriter.fourcc(*_CODEC)
  # A bare name with a colon, such as 10:30.mp4, would be an address to FFmpeg.
  # MPEG-4 has a fraction of 65535 / N at most, and OpenCV makes one of three decimals.
  digits = 3 if frame_rate < 65 else 2 if frame_rate < 655 else 1
  video = cv2.VideoWriter(str(path.absolute()), codec, round(frame_rate, digits), size)
  if not video.isOpened():
    raise ValueError(f"{path} cannot be written: is the folder writable, and are {size[0]} x "
                     f"{size[1]} pixels at {frame_rate:g} frames/s usual? Or leave video out of "
                     "--write: pictures writes a PNG for each frame")
  return video


def _check(path, added):
  """Raises if a video has not the frames that were added; OpenCV says nothing of a full disk."""
  video = cv2.VideoCapture(str(path.absolute()))
  count = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
  video.release()
  if count != added:
    raise ValueError(f"{path} has {max(count, 0)} of the {added} frames that were written: is the "
                     "disk full?")
