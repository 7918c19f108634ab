"""Small videos, and a camera that is not there."""

import struct

import cv2
import numpy as np

SIZE = (48, 64)


def write_clip(path, count=6, *, size=SIZE, rate=10.0, codec="MJPG"):
  """Writes a video whose frame n has the grey level 20 n + 50."""
  video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, size[::-1])
  assert video.isOpened()
  for number in range(count):
    video.write(np.full((*size, 3), (50 + 20 * number, 50, 50), np.uint8))
  video.release()
  return path


def trim_clip(path, milliseconds):
  """Lets the list of edits of an MP4 of `write_clip` end so early; its frames stay in the file."""
  content = bytearray(path.read_bytes())
  entry = content.index(b"elst") + 12  # After version, flags and the number of entries.
  content[entry:entry + 4] = milliseconds.to_bytes(4, "big")
  path.write_bytes(content)
  return path


def turn_clip(path, quarters):
  """Lets an MP4 ask to be shown turned clockwise by so many quarters, as phones write it."""
  content = bytearray(path.read_bytes())
  # After version, flags, two times, track, duration, and 16 bytes more (ISO/IEC 14496-12, tkhd).
  matrix = content.index(b"tkhd") + 4 + 4 + 20 + 16
  cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters]
  turned = (cosine, sine, 0, -sine, cosine, 0, 0, 0)
  content[matrix:matrix + 36] = struct.pack(">9i", *(x << 16 for x in turned), 1 << 30)
  path.write_bytes(content)
  return path


class Camera:
  """Takes the part of `cv2.VideoCapture`: a camera with so many frames before it ends."""

  def __init__(self, count, *, is_open=True, then=None):
    self.count, self.is_open, self.then, self.read_count = count, is_open, then, 0
    self.released = False

  def __call__(self, source):
    self.source = source
    return self

  def isOpened(self):
    return self.is_open

  def get(self, field):
    return {cv2.CAP_PROP_FPS: 30.0}.get(field, -1.0)

  def read(self):
    if self.read_count == self.count and self.then:
      raise self.then
    self.read_count += 1
    frame = np.full((*SIZE, 3), self.read_count, np.uint8)
    return (True, frame) if self.read_count <= self.count else (False, None)

  def release(self):
    self.released = True
