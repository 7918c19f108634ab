import time

import cv2
import numpy as np
import pytest

from helpers.found_by_hand import make_found, make_record, make_target
from mnc_jax.data.video import open_video
from mnc_jax.evaluation.visualize import draw_instances
from mnc_jax.evaluation.writers import video as video_writer
from mnc_jax.evaluation.writers.video import open_writer


def read(path):
  with open_video(path) as video:
    return video.frame_rate, list(video.frames)


def write_clip(target, found):
  with open_writer(target, "clip") as write:
    for one in found:
      write(one)


def test_each_frame_is_drawn_once(tmp_path):
  target, _ = make_target(tmp_path, frame_rate=12.5)
  found = [make_found(make_record((10, 40), (10 + 5 * shift, 50 + 5 * shift)))
           for shift in range(4)]
  write_clip(target, found)
  rate, frames = read(tmp_path / "clip.mp4")
  assert (rate, len(frames)) == (12.5, 4)
  for one, frame in zip(found, frames, strict=True):
    picture = draw_instances(one.pixels, one.records, target.category_names)
    assert frame.shape == picture.shape
    assert np.abs(frame.astype(int) - picture).mean() < 6  # It is compressed.


@pytest.mark.parametrize("rate", [59.9237, 120.123, 660.123])
def test_uneven_rates_are_written(tmp_path, rate):
  write_clip(make_target(tmp_path, frame_rate=rate)[0], [make_found()])
  assert read(tmp_path / "clip.mp4")[0] == pytest.approx(rate, rel=1e-4)


def test_frames_of_another_size_are_scaled(tmp_path):
  write_clip(make_target(tmp_path, frame_rate=10.0)[0],
             [make_found(size=(401, 500)), make_found(size=(600, 800))])
  _, frames = read(tmp_path / "clip.mp4")
  # Of an odd side the codec drops a pixel.
  assert [frame.shape for frame in frames] == [(400, 500, 3)] * 2


def test_live_frames_are_repeated_while_the_next_is_not_ready(tmp_path, monkeypatch):
  now = iter([100.0, 100.0, 100.5, 100.55, 101.0])
  monkeypatch.setattr(time, "monotonic", lambda: next(now))
  with open_writer(make_target(tmp_path, frame_rate=10.0, is_live=True)[0], "camera_0") as write:
    for _ in range(4):
      write(make_found())
  # At 0 s the first; five more until 0.5 s; one at least; up to the eleventh at 1 s.
  assert len(read(tmp_path / "camera_0.mp4")[1]) == 11


def test_without_frames_there_is_no_file(tmp_path):
  write_clip(make_target(tmp_path, frame_rate=10.0)[0], [])
  assert not (tmp_path / "clip.mp4").exists()


def test_a_file_that_cannot_be_written(tmp_path):
  target, _ = make_target(tmp_path / "none", frame_rate=10.0)
  with open_writer(target, "clip") as write, pytest.raises(
      ValueError, match="none/clip.mp4 cannot be written: is the folder writable"):
    write(make_found())


def test_frames_that_did_not_arrive_are_missed(tmp_path, monkeypatch):
  class Full:
    def __init__(self, *args):
      self.video = real(*args)
      self.isOpened, self.release = self.video.isOpened, self.video.release
      self.count = 0
    def write(self, frame):
      self.count += 1
      if self.count <= 2:
        self.video.write(frame)
  real, Full.fourcc = cv2.VideoWriter, staticmethod(cv2.VideoWriter.fourcc)
  monkeypatch.setattr(video_writer.cv2, "VideoWriter", Full)
  found = [make_found()] * 3
  with pytest.raises(ValueError, match="clip.mp4 has 2 of the 3 frames that were written"):
    write_clip(make_target(tmp_path, frame_rate=10.0)[0], found)


def test_a_bucket_takes_no_video():
  class Bucket:
    def __truediv__(self, name):
      return f"gs://bucket/{name}"
  target, _ = make_target(Bucket(), frame_rate=10.0)
  with pytest.raises(ValueError, match="gs://bucket/clip.mp4: a video is only written to a local"):
    write_clip(target, [])
