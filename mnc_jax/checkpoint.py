"""Checkpoints of a run, with all that is needed to go on from them or to use the model.

    workdir/config.json                     the config of the last save
    workdir/checkpoints/<step>/params       weights
                              /optimizer    step and optimiser state; absent if imported
                              /metadata     category names and ids, scores, notes

The position in the data is the step: batches are planned from seed and step alone.
"""

import logging
import pathlib
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from mnc_jax.cascade import init_params
from mnc_jax.config import Config
from mnc_jax.config_json import from_json, to_json
from mnc_jax.tree_shapes import check_fit

_FOLDER, _CONFIG_FILE = "checkpoints", "config.json"


class Categories(NamedTuple):
  """The categories of a data set, background not among them; label i is entry i - 1."""
  category_names: tuple
  category_ids: tuple


def open_checkpoints(workdir, *, keep=3) -> ocp.CheckpointManager:
  """Opens the checkpoints of a run, to save and to go on.

  Args:
    workdir: folder of the run, made if it is missing.
    keep: number of checkpoints kept, the latest.

  Returns:
    A manager with `latest_step()` (None without a checkpoint). Saving goes on in the
    background: call its `wait_until_finished()` before the program ends.
  """
  _quiet_orbax()
  folder = pathlib.Path(workdir).resolve() / _FOLDER
  folder.mkdir(parents=True, exist_ok=True)
  # Named handlers let a manager that has saved nothing yet read the shapes of what is there.
  handlers = {"params": ocp.StandardCheckpointHandler(),
              "optimizer": ocp.StandardCheckpointHandler(),
              "metadata": ocp.JsonCheckpointHandler()}
  return ocp.CheckpointManager(folder, item_handlers=handlers, options=(
      ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)))


def save(manager, state, config: Config, categories, *, scores=None, notes=None) -> None:
  """Saves a state; returns once it is copied to the host, and writes in the background.

  What is saved of this step or later ones gives way: it is from before the run was interrupted
  and went on from an earlier checkpoint, and Orbax would save nothing below its latest step.

  Args:
    manager: from `open_checkpoints`.
    state: NamedTuple with `step`, `params`, `opt_state`, one copy (not one a device).
    config: of the run; `config.json` is written anew if it has changed.
    categories: anything with `category_names` and `category_ids`.
    scores: {name: float} that this state reached, if it was evaluated.
    notes: JSON values by name, for example what the weights began as; see `load_notes`.
  """
  state = jax.tree.map(np.asarray, jax.device_get(state))
  for step in manager.all_steps():
    if step >= state.step:
      manager.delete(step)
  _save_items(manager, int(state.step), config, categories,
              {"scores": scores or {}, "notes": notes or {}},
              params=ocp.args.StandardSave(state.params),
              optimizer=ocp.args.StandardSave({"step": state.step, "opt_state": state.opt_state}))


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
  """
  check_free(workdir)
  with open_checkpoints(workdir) as manager:
    _save_items(manager, 0, config, categories, {"notes": notes},
                params=ocp.args.StandardSave(params))
    manager.wait_until_finished()


def check_free(workdir) -> None:
  """Refuses a folder that has checkpoints.

  Raises:
    ValueError: naming the last step.
  """
  if (pathlib.Path(workdir) / _FOLDER).is_dir():
    with open_checkpoints(workdir) as manager:
      if manager.latest_step() is not None:
        raise ValueError(f"{workdir} already has checkpoints, the last of step "
                         f"{manager.latest_step()}: give another folder")


def _save_items(manager, step, config, categories, more, **items):
  names, ids = list(categories.category_names), [int(x) for x in categories.category_ids]
  # First: weights without their config could not be read.
  if jax.process_index() == 0:
    _write_config(pathlib.Path(manager.directory).parent / _CONFIG_FILE, to_json(config))
  manager.save(step, args=ocp.args.Composite(**items, metadata=ocp.args.JsonSave(
      {"category_names": names, "category_ids": ids, **more})))


def restore(manager, like, *, categories=None):
  """Restores the latest checkpoint, bit by bit as it was saved.

  Args:
    manager: from `open_checkpoints`.
    like: a state of the kind that was saved, of arrays or `jax.ShapeDtypeStruct`.
    categories: anything with `category_names` and `category_ids`; if given, they must be
      those that were saved.

  Returns:
    The state as arrays on the default device.

  Raises:
    FileNotFoundError: if there is no checkpoint.
    ValueError: if the saved state has other entries or shapes than `like`, naming the first,
      or other categories.
  """
  step = _latest_step(manager, pathlib.Path(manager.directory).parent)
  if not has_optimizer(manager):
    raise ValueError(f"checkpoint {step} of {manager.directory.parent} has weights alone, no "
                     "optimiser to go on with: use restore_params and a fresh state")
  items = {"params": like.params, "optimizer": {"step": like.step, "opt_state": like.opt_state}}
  restored = _restore_items(manager, step, items)
  if categories is not None:
    _check_categories(categories, restored["metadata"], manager.directory.parent)
  optimizer = restored["optimizer"]
  state = type(like)(step=optimizer["step"], params=restored["params"],
                     opt_state=optimizer["opt_state"])
  return jax.tree.map(jax.numpy.asarray, state)


def has_optimizer(manager) -> bool:
  """Says whether the latest checkpoint is of a run; of an imported model it has weights alone."""
  return manager.item_metadata(manager.latest_step()).get("optimizer") is not None


def restore_params(manager, like, *, categories):
  """Restores the weights of the latest checkpoint.

  Args:
    manager: from `open_checkpoints`.
    like: a tree of arrays or `jax.ShapeDtypeStruct`.
    categories: anything with `category_names` and `category_ids`: those that were saved.

  Raises:
    ValueError: as `restore`.
  """
  step = _latest_step(manager, pathlib.Path(manager.directory).parent)
  restored = _restore_items(manager, step, {"params": like})
  _check_categories(categories, restored["metadata"], manager.directory.parent)
  return jax.tree.map(jax.numpy.asarray, restored["params"])


def load_notes(workdir) -> dict:
  """Returns the notes of the latest checkpoint of a workdir, and its `step`."""
  with open_checkpoints(workdir) as manager:
    return saved_notes(manager) | {"step": manager.latest_step() or 0}


def describe_source(notes) -> str:
  """Says what a model is from, by the notes of its checkpoint or file."""
  source, step = notes.get("source", "unknown"), notes.get("step", 0)
  return f"{source}, trained for {step} steps" if step else source


def saved_notes(manager) -> dict:
  """Returns the notes of the latest checkpoint; empty if there is none, or none were saved."""
  return _read_metadata(manager).get("notes", {})


def saved_scores(manager) -> dict:
  """Returns the scores of the latest checkpoint; empty if there is none, or none were saved."""
  return _read_metadata(manager).get("scores", {})


def _read_metadata(manager):
  step = manager.latest_step()
  if step is None:
    return {}
  return manager.restore(step, args=ocp.args.Composite(metadata=ocp.args.JsonRestore()))["metadata"]


def load_params(workdir):
  """Loads the trained model of a run.

  Args:
    workdir: folder of the run.

  Returns:
    `(params, config, Categories)` of the latest checkpoint.

  Raises:
    FileNotFoundError: if the folder, its config or a checkpoint is missing.
    ValueError: if the config does not fit the weights, naming the first that differs.
  """
  workdir = pathlib.Path(workdir)
  config = read_config(workdir)
  with open_checkpoints(workdir) as manager:
    like = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
    restored = _restore_items(manager, _latest_step(manager, workdir), {"params": like})
  metadata = restored["metadata"]
  categories = Categories(tuple(metadata["category_names"]), tuple(metadata["category_ids"]))
  return jax.tree.map(jax.numpy.asarray, restored["params"]), config, categories


def _restore_items(manager, step, items):
  saved = manager.item_metadata(step)
  for name, like in items.items():
    check_fit(like, saved[name], f"checkpoint {step} of {manager.directory.parent}")
  # Without a sharding, leaves are restored as numpy: no device layout of the run that saved.
  like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), items)
  return manager.restore(step, args=ocp.args.Composite(
      metadata=ocp.args.JsonRestore(),
      **{name: ocp.args.StandardRestore(tree) for name, tree in like.items()}))


def _check_categories(categories, metadata, workdir):
  asked = list(categories.category_names), [int(x) for x in categories.category_ids]
  saved = metadata["category_names"], metadata["category_ids"]
  if list(asked) != list(saved):
    raise ValueError(f"{workdir} was trained on the categories {saved[0]} with ids {saved[1]}, but "
                     f"the data set has {asked[0]} with ids {asked[1]}: use another --workdir")


def _latest_step(manager, workdir):
  step = manager.latest_step()
  if step is None:
    raise FileNotFoundError(
        f"{workdir} has no checkpoint yet: train with experiments/train.py --workdir {workdir} "
        "at least to train.checkpoint_every steps")
  return step


def read_config(workdir) -> Config:
  """Returns the config that a run was last saved with.

  Raises:
    FileNotFoundError: if the folder or its config is missing.
    ValueError: if the config cannot be read.
  """
  workdir = pathlib.Path(workdir)
  if not workdir.is_dir():
    raise FileNotFoundError(f"{workdir}: no such folder. Give the --workdir of a training run.")
  path = workdir / _CONFIG_FILE
  if not path.is_file():
    raise FileNotFoundError(
        f"{workdir} has no checkpoint (no {_CONFIG_FILE} in it): give the --workdir of a run of "
        "experiments/train.py that has reached its first checkpoint")
  try:
    return from_json(path.read_text())
  except (ValueError, TypeError) as error:
    raise ValueError(f"{path}: {error}") from error


def _write_config(path, text):
  if not path.is_file() or path.read_text() != text:
    # Renamed into place, so that no reader sees half a file.
    path.with_suffix(".json.new").write_text(text)
    path.with_suffix(".json.new").replace(path)


def _quiet_orbax():
  # It reports every file at INFO, and at WARNING that numpy leaves have no sharding.
  logging.getLogger("absl").setLevel(logging.ERROR)
