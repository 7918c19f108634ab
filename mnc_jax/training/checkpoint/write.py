"""Writes checkpoints."""


import jax
import numpy as np
import orbax.checkpoint as ocp

from mnc_jax.config import Config
from mnc_jax.config.paths import as_workdir
from mnc_jax.training.checkpoint.checksums import compute_checksums
from mnc_jax.training.checkpoint.manager import FOLDER, KEPT, failures_told, open_checkpoints
from mnc_jax.training.run_folder import write_config


def save(manager, state, config: Config, categories, *, scores=None, notes=None) -> None:
  """Saves a state; returns once it is copied to the host, and writes in the background.

  What is saved of this step or later ones gives way: it is from before the run was interrupted
  and went on from an earlier checkpoint, and Orbax would save nothing below its latest step.

  Args:
    manager: from `open_checkpoints`.
    state: NamedTuple with `step`, `params`, `opt_state`, on the host or replicated on devices.
    config: of the run; `config.json` is written anew if it has changed.
    categories: anything with `category_names` and `category_ids`.
    scores: {name: float} that this state reached, if it was evaluated.
    notes: JSON values by name, for example what the weights began as; see `load_notes`.

  Raises:
    OSError: if this cannot be written, or what was saved before could not; the training state
      is as it was, and may be saved again. Of what fails later, in the background, the next
      `save`, `check_written` or `wait_until_written` tells.
  """
  state = jax.tree.map(np.asarray, jax.device_get(state))
  for step in manager.all_steps():
    if step >= state.step:
      manager.delete(step)
  _save_items(manager, int(state.step), config, categories,
              {"scores": scores or {}, "notes": notes or {}},
              params=state.params,
              optimizer={"step": state.step, "opt_state": state.opt_state})


def save_model(workdir, params, config: Config, categories, *, notes) -> None:
  """Saves weights that are not from a run as its checkpoint of step 0, without an optimiser.

  Args:
    workdir: folder that has no checkpoint yet.
    params: numpy arrays or others.
    config: of the model.
    categories: anything with `category_names` and `category_ids`.
    notes: JSON values by name, for example of what source the weights are; see `load_notes`.

  Raises:
    ValueError: if the folder has checkpoints.
    OSError: if it cannot be written.
  """
  check_free(workdir)
  with open_checkpoints(workdir) as manager:
    _save_items(manager, 0, config, categories, {"notes": notes},
                params=params)
    wait_until_written(manager)


def wait_until_written(manager) -> None:
  """Waits until what was saved with `manager` is on the disk.

  Raises:
    OSError: if it could not be written; see `failures_told`.
  """
  with failures_told(manager):
    manager.wait_until_finished()


def check_written(manager) -> None:
  """Refuses to go on if a save of `manager` in the background has failed; does not wait for one.

  Raises:
    OSError: if it has; see `failures_told`.
  """
  with failures_told(manager):
    manager.check_for_errors()


def bytes_to_save(manager, state, *, keep: int = KEPT) -> int:
  """Returns the bytes on the disk that the checkpoints of a run will need beyond those there.

  Args:
    manager: of the run.
    state: of the kind that will be saved.
    keep: number of checkpoints kept.
  """
  size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
  # The oldest goes only when the newest is complete.
  return size * max(keep + 1 - len(manager.all_steps()), 1)


def check_free(workdir) -> None:
  """Refuses a `workdir` that has checkpoints.

  Raises:
    ValueError: naming the last step.
  """
  if (as_workdir(workdir) / FOLDER).is_dir():
    with open_checkpoints(workdir) as manager:
      if manager.latest_step() is not None:
        raise ValueError(f"{workdir} already has checkpoints, the last of step "
                         f"{manager.latest_step()}: give another folder")


def _save_items(manager, step, config, categories, more, **trees):
  names, ids = list(categories.category_names), [int(x) for x in categories.category_ids]
  with failures_told(manager):
    # First: weights without their config could not be read.
    if jax.process_index() == 0:
      write_config(manager.directory.parent, config)
    checksums = {name: compute_checksums(tree) for name, tree in trees.items()}
    items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
    manager.save(step, args=ocp.args.Composite(**items, metadata=ocp.args.JsonSave(
        {"category_names": names, "category_ids": ids, "checksums": checksums, **more})))
