"""Real checkpoints on a disk that is full for a while: a limit on the size of files."""

import contextlib
import resource
import time
from typing import Any, NamedTuple
from unittest import mock

from etils import epath
import numpy as np
import pytest

from helpers.tiny import tiny_config
from mnc_jax.training import checkpoint
from mnc_jax.training.checkpoint.manager import explain_write_errors

CATEGORIES = checkpoint.Categories(("disc",), (1,))


class State(NamedTuple):
  """A state of 400 kB that cannot be compressed."""
  step: np.ndarray
  params: dict
  opt_state: Any
  average: None = None


def make_state(step):
  noise = np.random.default_rng(step).random((300, 300), np.float32)
  return State(np.int32(step), {"a": noise}, {"b": np.ones(2, np.float32)})


@contextlib.contextmanager
def full_disk():
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def save(manager, step, **more):
  checkpoint.save(manager, make_state(step), tiny_config(), CATEGORIES, **more)


def save_and_wait(manager, step, **more):
  save(manager, step, **more)
  checkpoint.wait_until_written(manager)


def fail_to_save(manager, step):
  with full_disk(), pytest.raises(OSError, match="could not be written") as caught:
    save_and_wait(manager, step)
  return str(caught.value)


def test_checkpoints_before_a_failed_save_stay_known_and_are_removed_in_turn(tmp_path):
  with checkpoint.open_checkpoints(tmp_path, keep=2) as manager:
    for step in (1, 2):
      save_and_wait(manager, step)
    assert fail_to_save(manager, 3).endswith("Complete checkpoints: 1, 2")
    for step in (4, 5):
      save_and_wait(manager, step)
    assert manager.all_steps() == [4, 5]
  assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"4", "5"}


class HttpError(Exception):
  """What gcsfs raises is no OSError."""


@pytest.mark.parametrize(("directory", "expected"), [
    (epath.Path("gs://bucket/run"), OSError), (epath.Path("/run"), HttpError)])
def test_an_error_of_a_bucket_is_that_a_checkpoint_could_not_be_written(directory, expected):
  manager = mock.Mock(directory=directory, all_steps=lambda: [3])
  manager.reload.side_effect = HttpError()
  with pytest.raises(expected) as caught, explain_write_errors(manager):
    raise HttpError("Service Unavailable, 503")
  if expected is OSError:
    assert str(caught.value) == ("a checkpoint could not be written to gs://bucket/run: Service "
                                 "Unavailable, 503. Complete checkpoints: 3")


def test_the_scores_of_the_best_state_survive_a_save_that_failed(tmp_path):
  with checkpoint.open_checkpoints(tmp_path, keep=1) as manager:
    save_and_wait(manager, 10, scores={"reached": 0.8})
    fail_to_save(manager, 100)
    assert checkpoint.saved_scores(manager) == {"reached": 0.8}
    assert manager.latest_step() == 10


def test_a_failure_in_the_background_is_found_without_waiting_for_the_next_save(tmp_path):
  with checkpoint.open_checkpoints(tmp_path) as manager:
    with full_disk():
      save(manager, 1)
      found = wait_for_error(manager)
    assert "could not be written" in str(found)
    save_and_wait(manager, 2)  # The old error is not raised again.
    checkpoint.check_written(manager)
    assert manager.all_steps() == [2]


def wait_for_error(manager):
  deadline = time.monotonic() + 30
  while time.monotonic() < deadline:
    try:
      checkpoint.check_written(manager)
    except OSError as error:
      return error
    time.sleep(0.01)
  return None
