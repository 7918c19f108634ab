"""Writes checkpoints."""

import os
from typing import Any

import jax
import orbax.checkpoint as ocp

from mnc_jax import parallel
from mnc_jax.config import Config
from mnc_jax.config.paths import as_workdir
from mnc_jax.training.checkpoint.checksums import compute_checksums
from mnc_jax.training.checkpoint.manager import (
  AVERAGED,
  FOLDER,
  KEPT,
  TRAINED,
  explain_write_errors,
  open_checkpoints,
)
from mnc_jax.training.run_folder import write_config


def save(manager: ocp.CheckpointManager, state: Any, config: Config, categories: Any, *,
         scores: dict | None = None, notes: dict | None = None) -> None:
  """Saves a state; returns once it is copied to the host, and writes in the background.

  Replaces checkpoints of this step or later ones: they are from before the run was interrupted
  and resumed from an earlier one, and Orbax saves nothing below its latest step.

  Args:
    manager: from `open_checkpoints`.
    state: NamedTuple with `step`, `params`, `opt_state`, `average`, on the host or on devices. What
      is divided over them is saved whole. An average is saved as the weights of the model, and
      `params` with the optimiser.
    config: of the run; `config.json` is rewritten if it has changed.
    categories: anything with `category_names` and `category_ids`.
    scores: {name: float} that this state reached, if it was evaluated.
    notes: JSON values by name, for example the origin of the weights; see `load_run`.

  Raises:
    OSError: if this save, or the one before it in the background, failed; the state may be
      saved again. A later failure is raised by the next `save`, `check_written` or
      `wait_until_written`.
  """
  state = parallel.to_host(state)
  for step in manager.all_steps():
    if step >= state.step:
      manager.delete(step)
  optimizer, more = {"step": state.step, "opt_state": state.opt_state}, {}
  if state.average is not None:
    # Readers of weights alone need not know that there is an average.
    optimizer, more = optimizer | {TRAINED: state.params}, {AVERAGED: True}
  _save_items(manager, int(state.step), config, categories,
              {"scores": scores or {}, "notes": notes or {}} | more,
              params=state.params if state.average is None else state.average,
              optimizer=optimizer)


def save_model(workdir: str | os.PathLike[str], params: Any, config: Config, categories: Any, *,
               notes: dict) -> None:
  """Saves weights that are not from a run as a checkpoint of step 0, without an optimiser.

  Args:
    workdir: folder that has no checkpoint yet.
    params: numpy arrays or others.
    config: of the model.
    categories: anything with `category_names` and `category_ids`.
    notes: JSON values by name, for example the source of the weights; see `load_run`.

  Raises:
    ValueError: if the folder has checkpoints.
    OSError: if it cannot be written.
  """
  check_free(workdir)
  with open_checkpoints(workdir) as manager:
    _save_items(manager, 0, config, categories, {"notes": notes}, params=params)
    wait_until_written(manager)


def wait_until_written(manager: ocp.CheckpointManager) -> None:
  """Waits until the last save is on the disk; raises OSError if it failed."""
  with explain_write_errors(manager):
    manager.wait_until_finished()


def check_written(manager: ocp.CheckpointManager) -> None:
  """Raises OSError if a save in the background has failed; does not wait for one."""
  with explain_write_errors(manager):
    # Orbax's own thread takes the error from `check_for_errors`; waiting for the thread raises it.
    # On several hosts the same must be called on all.
    if jax.process_count() > 1:
      manager.check_for_errors()
    elif not manager.is_saving_in_progress():
      manager.wait_until_finished()


def bytes_to_save(manager: ocp.CheckpointManager, state: Any, *, keep: int = KEPT) -> int:
  """Returns the bytes that the checkpoints of a run will need beyond those on the disk.

  Args:
    manager: of the run.
    state: with the shapes of what will be saved.
    keep: number of checkpoints kept.
  """
  size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
  # The oldest is removed only when the newest is complete.
  return size * max(keep + 1 - len(manager.all_steps()), 1)


def check_free(workdir: str | os.PathLike[str], *, advice: str = "give another folder") -> None:
  """Raises ValueError if `workdir` has checkpoints; `advice` ends the message."""
  if (as_workdir(workdir) / FOLDER).is_dir():
    with open_checkpoints(workdir) as manager:
      if manager.latest_step() is not None:
        raise ValueError(f"{workdir} already has checkpoints, the last of step "
                         f"{manager.latest_step()}: {advice}")


def _save_items(manager, step, config, categories, more, **trees):
  names, ids = list(categories.category_names), [int(x) for x in categories.category_ids]
  with explain_write_errors(manager):
    # First, since weights without their config cannot be read.
    if jax.process_index() == 0:
      write_config(manager.directory.parent, config)
    checksums = {name: compute_checksums(tree) for name, tree in trees.items()}
    items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
    manager.save(step, args=ocp.args.Composite(**items, metadata=ocp.args.JsonSave(
        {"category_names": names, "category_ids": ids, "checksums": checksums, **more})))
