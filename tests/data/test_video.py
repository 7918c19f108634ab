"""Frames of videos and cameras, and what is said of those that give none."""

import cv2
import numpy as np
import pytest

from helpers.clips import SIZE, Camera, turn_clip, write_clip
from mnc_jax.data.records import BrokenImageError
from mnc_jax.data.video import _is_complete_mp4, open_video


def test_frames_come_in_order_as_rgb(tmp_path):
  with open_video(write_clip(tmp_path / "a.avi")) as video:
    frames = list(video.frames)
  assert (video.frame_rate, video.num_frames, len(frames)) == (10.0, 6, 6)
  for number, frame in enumerate(frames):
    assert (frame.shape, frame.dtype, frame.flags.c_contiguous) == ((*SIZE, 3), np.uint8, True)
    np.testing.assert_allclose(frame[20, 20], [50, 50, 50 + 20 * number], atol=4)


@pytest.mark.parametrize("quarters", range(4))
def test_frames_are_upright(tmp_path, quarters):
  path, picture = tmp_path / "a.mp4", np.zeros((*SIZE, 3), np.uint8)
  picture[:SIZE[0] // 2, :SIZE[1] // 2] = 255  # The upper left quarter.
  video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, SIZE[::-1])
  video.write(picture)
  video.release()
  with open_video(turn_clip(path, quarters)) as video:
    frame, = video.frames
  np.testing.assert_allclose(frame.astype(int), np.rot90(picture, -quarters), atol=40)


def test_a_video_that_ends_early_is_reported_after_its_frames(tmp_path):
  path = write_clip(tmp_path / "a.avi", 30)
  path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
  frames = []
  with open_video(path) as video, pytest.raises(BrokenImageError) as error:
    frames.extend(video.frames)
  assert 1 <= len(frames) < 29
  assert f"a.avi: only {len(frames)} of its 30 frames could be decoded" in str(error.value)


def move_index(content):
  """Returns an MP4 with its index before the frames, which ends early then."""
  index = content.index(b"moov") - 4
  return content[:28] + content[index:] + content[28:index]


def test_trimmed_videos_are_told_from_truncated_ones(tmp_path):
  path = write_clip(tmp_path / "a.mp4", 30, codec="mp4v")
  content = path.read_bytes()
  for whole in (content, content + b"\0" * 5, move_index(content)):
    path.write_bytes(whole)
    assert _is_complete_mp4(path)
  path.write_bytes(move_index(content)[:-50])
  assert not _is_complete_mp4(path)
  assert not _is_complete_mp4(write_clip(tmp_path / "a.avi"))
  for length, complete in ((b"\0\0\0\0", True), (b"\0\0\0\1", False)):
    path.write_bytes(b"\0\0\0\x08moov" + length + b"mdat" + (2 ** 40).to_bytes(8, "big"))
    assert _is_complete_mp4(path) == complete


def test_files_that_are_no_videos(tmp_path):
  with pytest.raises(FileNotFoundError, match="none.mp4: no such video"), open_video(
      tmp_path / "none.mp4"):
    pass
  for content in (b"", b"no video at all" * 50):
    (tmp_path / "a.avi").write_bytes(content)
    with pytest.raises(ValueError, match="a.avi: no frame of it can be decoded"), open_video(
        tmp_path / "a.avi"):
      pass


def test_a_camera_gives_frames_until_it_ends(monkeypatch):
  camera = Camera(3)
  monkeypatch.setattr(cv2, "VideoCapture", camera)
  with open_video(1) as video:
    assert [frame[0, 0, 0] for frame in video.frames] == [1, 2, 3]
    assert not camera.released
  assert (camera.source, camera.released) == (1, True)
  assert (video.name, video.frame_rate, video.num_frames) == ("camera 1", 30.0, 0)


@pytest.mark.parametrize(("camera", "message"), [
    (Camera(0, is_open=False), "camera 0 cannot be opened: is it connected .the first one is 0"),
    (Camera(0), "camera 0 gives no images: is another program using it")])
def test_cameras_that_give_nothing(monkeypatch, camera, message):
  monkeypatch.setattr(cv2, "VideoCapture", camera)
  with pytest.raises(ValueError, match=message), open_video(0):
    pass
  assert camera.released


def test_a_camera_that_is_not_there_leaves_the_log_level(capfd):
  levels = getattr(cv2.utils, "logging", cv2)
  before = levels.getLogLevel()
  with pytest.raises(ValueError, match="camera 77 cannot be opened"), open_video(77):
    pass
  assert levels.getLogLevel() == before
  assert not capfd.readouterr().err


def test_a_rate_that_no_video_has_is_replaced(monkeypatch):
  for rate in (0.0, 1000.0, 90000.0, float("nan")):
    camera = Camera(1)
    camera.get = lambda field, rate=rate: rate if field == cv2.CAP_PROP_FPS else -1.0
    monkeypatch.setattr(cv2, "VideoCapture", camera)
    with open_video(0) as video:
      assert video.frame_rate == 25.0


def test_a_number_of_frames_by_such_a_rate_is_not_believed(monkeypatch, tmp_path):
  (tmp_path / "a.webm").write_bytes(b"")
  for rate, claimed in ((1000.0, 0), (30.0, 4000)):
    camera = Camera(3)
    camera.get = {cv2.CAP_PROP_FPS: rate, cv2.CAP_PROP_FRAME_COUNT: 4000.0}.get
    monkeypatch.setattr(cv2, "VideoCapture", camera)
    with open_video(tmp_path / "a.webm") as video:
      assert video.num_frames == claimed
      if not claimed:
        assert len(list(video.frames)) == 3
