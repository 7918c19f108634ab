"""A disk that is full, and then is not: the run continues, and nothing is lost."""

from typing import NamedTuple

import pytest

from mnc_jax import parallel
from mnc_jax.training import checkpoint, saving


class State(NamedTuple):
  """As much of a state as a saver reads."""
  step: int


class Disk:
  """Takes states while it has space."""

  def __init__(self):
    self.full, self.written = False, []

  def save(self, state):
    if self.full:
      raise OSError("No space left on device")
    self.written.append(state.step)


@pytest.fixture
def disk(monkeypatch):
  """A disk behind a saver's checkpoints."""
  for name in ("check_written", "wait_until_written"):
    monkeypatch.setattr(checkpoint, name, lambda manager: None)
  monkeypatch.setattr(saving, "_RETRY_SECONDS", 0.01)
  return Disk()


def test_a_failed_save_is_warned_of_once_and_retried(disk):
  saver = saving.Saver(None, disk.save, saved=None)
  saver.save(State(3))
  disk.full = True
  with pytest.warns(UserWarning, match=r"No space left on device\. The run continues"):
    saver.save(State(6))
  saver.save(State(7))  # No second warning: it would be an error here.
  assert saver.error is not None
  disk.full = False
  saver.save(State(8))
  assert saver.error is None
  assert disk.written == [3, 8]


def test_a_state_that_nothing_replaces_is_not_said_to_be_saved_later(disk):
  disk.full = True
  with pytest.warns(UserWarning, match="continues, without this state: make space on the disk"):
    saving.Saver(None, disk.save, saved=None, retries=False).save(State(6))


def test_a_saved_step_is_not_written_again(disk):
  saver = saving.Saver(None, disk.save, saved=5)
  saver.save(State(5))
  saver.save(State(6))
  saver.save(State(6))
  assert disk.written == [6]


def test_a_failure_in_the_background_is_found(disk, monkeypatch):
  saver = saving.Saver(None, disk.save, saved=None)
  saver.save(State(3))
  def fail(manager):
    raise OSError("a checkpoint could not be written")
  monkeypatch.setattr(checkpoint, "check_written", fail)
  with pytest.warns(UserWarning, match="could not be written"):
    saver.check()
  assert saver.saved is None
  saver.save(State(3))
  assert disk.written == [3, 3]


def test_the_last_state_waits_for_space(disk, monkeypatch):
  saver = saving.Saver(None, disk.save, saved=None)
  disk.full = True
  slept = []
  def make_space(seconds):
    slept.append(seconds)
    disk.full = len(slept) < 3
  monkeypatch.setattr(saving.time, "sleep", make_space)
  with pytest.warns(UserWarning, match="make space on the disk"):
    saver.save_last(State(9), waits=lambda: True)
  assert disk.written == [9]
  assert len(slept) == 3


@pytest.mark.parametrize("waits", [True, False])
def test_the_last_state_waits_neither_for_ever_nor_after_sigterm(disk, monkeypatch, waits):
  disk.full, tries = True, []
  monkeypatch.setattr(saving, "_PATIENCE_SECONDS", 0.05 if waits else 3600)
  def keep_waiting():
    tries.append(1)
    return waits or len(tries) < 3
  with (pytest.warns(UserWarning, match="make space"),
        pytest.raises(OSError, match="state of step 9 is lost: No space left on device")):
    saving.Saver(None, disk.save, saved=None).save_last(State(9), waits=keep_waiting)
  assert len(tries) > 1 if waits else len(tries) == 3


def test_several_hosts_do_not_retry(disk, monkeypatch):
  monkeypatch.setattr(parallel, "process_count", lambda: 2)
  disk.full = True
  with pytest.raises(OSError, match="No space"):
    saving.Saver(None, disk.save, saved=None).save(State(1))
