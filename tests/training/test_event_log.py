"""The log of a run: what was written is read back, and a full disk stops nothing."""

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from helpers.event_files import read_events, read_scalars
from mnc_jax.training.event_log import EventLog


def test_numbers_pictures_and_the_step_from_which_older_files_are_void_are_read_back(tmp_path):
  with EventLog(tmp_path / "logs", first_step=7) as log:
    log.add_scalars({"train/loss": 1.5, "train/rate": 0.25}, 7)
    log.add_scalars({"train/loss": 1.25}, 8)
    log.add_image("picture", np.full((4, 6, 3), 200, np.uint8), 8)
  assert read_scalars(tmp_path / "logs") == {
      "train/loss": {7: [1.5], 8: [1.25]}, "train/rate": {7: [0.25]}}
  events = [event for path in (tmp_path / "logs").iterdir() for event in read_events(path)]
  assert events[0].file_version == "brain.Event:2"
  assert events[1].session_log.status == event_pb2.SessionLog.SessionStatus.START
  assert events[1].step == 7
  picture = events[-1].summary.value[0]
  assert (picture.tag, picture.image.height, picture.image.width) == ("picture", 4, 6)


def test_what_cannot_be_written_is_told_once_and_written_when_it_can(tmp_path, monkeypatch):
  class Disk:
    """Takes a part of what is written, then nothing until there is space."""
    def __init__(self, file):
      self.file, self.space = file, 10
    def write(self, content):
      if not self.space:
        raise OSError(28, "No space left on device")
      taken, self.space = self.file.write(bytes(content[:self.space])), 0
      return taken
    def close(self):
      self.file.close()

  with EventLog(tmp_path, first_step=1) as log:
    log.flush()
    disk = log._file = Disk(log._file)
    log.add_scalars({"loss": 0.5, "rate": 0.25}, 1)
    with pytest.warns(UserWarning, match=r"log .* \(No space left on device\); .* goes on"):
      log.flush()
    log.add_scalars({"loss": 0.75}, 2)
    log.flush()  # Not told again: a warning is an error here.
    disk.space = 1000
    log.flush()
  assert read_scalars(tmp_path) == {"loss": {1: [0.5], 2: [0.75]}, "rate": {1: [0.25]}}


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
  (tmp_path / "logs").write_text("")
  log = EventLog(tmp_path / "logs", first_step=1)
  with pytest.warns(UserWarning, match="log could not be written"):
    log.flush()


def test_without_a_folder_nothing_is_written(tmp_path):
  with EventLog(None, first_step=1) as log:
    log.add_scalars({"loss": 1.0}, 1)
    log.flush()
  assert list(tmp_path.iterdir()) == []
