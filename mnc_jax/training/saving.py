"""Saves while training, and keeps training while the disk is full."""

from collections.abc import Callable
import time
from typing import Any
import warnings

import orbax.checkpoint as ocp

from mnc_jax import parallel
from mnc_jax.training import checkpoint
from mnc_jax.training.step import TrainState

# How long the program holds a last state that it cannot write, for someone to make space.
_PATIENCE_SECONDS, _RETRY_SECONDS = 3600, 10


class Saver:
  """Saves states in the background; warns of a save that fails, and lets the run continue.

  Attributes:
    saved: the step that was saved last; None if there is none, or if that failed.
    error: why the last save failed, None if it did not.
  """

  def __init__(self, manager: ocp.CheckpointManager, save: Callable[..., None], *,
               saved: int | None, retries: bool = True):
    """Takes over the checkpoints of a run.

    Args:
      manager: of `checkpoint.open_checkpoints`.
      save: saves a state.
      saved: the step that the run resumes from, None if it starts.
      retries: whether a later state is saved in place of one that could not be written.
    """
    self._manager, self._save, self._retries = manager, save, retries
    self.saved, self.error = saved, None

  def save(self, state: TrainState, **more: Any) -> None:
    """Begins to save a state, and `more` with it, unless its step is already saved."""
    if int(state.step) != self.saved:
      self.saved = int(state.step)
      self._attempt(lambda: self._save(state, **more))

  def check(self) -> None:
    """Notices, without waiting, whether the last save has failed."""
    if not self.error:
      self._attempt(lambda: checkpoint.check_written(self._manager))

  def finish(self, *, continues: bool = True) -> None:
    """Waits until the last save is written or has failed; `continues`: whether the run does."""
    if not self.error:
      self._attempt(lambda: checkpoint.wait_until_written(self._manager), continues)

  def save_last(self, state: TrainState, *, waits: Callable[[], bool]) -> None:
    """Saves the last state of a run, and retries while it `waits` and cannot write it.

    Raises:
      OSError: if it could not be written.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    self.save(state)
    self.finish()
    while self.error and waits() and time.monotonic() < deadline:
      time.sleep(_RETRY_SECONDS)
      self.save(state)
      self.finish()
    if self.error:
      raise OSError(f"the state of step {int(state.step)} is lost: {self.error}") from self.error

  def _attempt(self, write, continues=True):
    warned, self.error = self.error, None
    try:
      write()
    except OSError as error:
      # Hosts that disagree on a further save would wait for each other.
      if parallel.process_count() > 1:
        raise
      self.saved, self.error = None, error
      if not warned:
        then = "and saves as soon as it can" if self._retries else "without this state"
        more = f". The run continues, {then}: make space on the disk" if continues else ""
        warnings.warn(f"{error}{more}", stacklevel=4)
