"""Checkpoints of a run, with all that is needed to go on from them or to use the model.

    workdir/config.json                     the config of the last save
    workdir/checkpoints/<step>/params       weights
                              /optimizer    step and optimiser state
                              /metadata     category names and ids, scores

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


def save(manager, state, config: Config, categories, *, scores=None) -> None:
  """Saves a state; returns once it is copied to the host, and writes in the background.

  What is saved of this step or later ones gives way: it is from before the run was interrupted
  and went on from an earlier checkpoint, and Orbax would save nothing below its latest step.

  Args:
    manager: from `open_checkpoints`.
    state: NamedTuple with `step`, `params`, `opt_state`, one copy (not one a device).
    config: of the run; `config.json` is written anew if it has changed.
    categories: anything with `category_names` and `category_ids`.
    scores: {name: float} that this state reached, if it was evaluated.
  """
  state = jax.tree.map(np.asarray, jax.device_get(state))
  names, ids = list(categories.category_names), [int(x) for x in categories.category_ids]
  for step in manager.all_steps():
    if step >= state.step:
      manager.delete(step)
  manager.save(int(state.step), args=ocp.args.Composite(
      params=ocp.args.StandardSave(state.params),
      optimizer=ocp.args.StandardSave({"step": state.step, "opt_state": state.opt_state}),
      metadata=ocp.args.JsonSave(
          {"category_names": names, "category_ids": ids, "scores": scores or {}})))
  if jax.process_index() == 0:
    _write_config(pathlib.Path(manager.directory).parent / _CONFIG_FILE, to_json(config))


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
  items = {"params": like.params, "optimizer": {"step": like.step, "opt_state": like.opt_state}}
  restored = _restore_items(manager, step, items)
  if categories is not None:
    _check_categories(categories, restored["metadata"], manager.directory.parent)
  optimizer = restored["optimizer"]
  state = type(like)(step=optimizer["step"], params=restored["params"],
                     opt_state=optimizer["opt_state"])
  return jax.tree.map(jax.numpy.asarray, state)


def saved_scores(manager) -> dict:
  """Returns the scores of the latest checkpoint; empty if there is none, or none were saved."""
  step = manager.latest_step()
  if step is None:
    return {}
  metadata = manager.restore(step, args=ocp.args.Composite(metadata=ocp.args.JsonRestore()))
  return metadata["metadata"].get("scores", {})


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
  config = _read_config(workdir)
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


def check_fit(like, saved, origin) -> None:
  """Compares two trees of arrays (or shapes) path by path.

  Args:
    like: what the config asks for.
    saved: what there is.
    origin: where `saved` is from, for the message.

  Raises:
    ValueError: naming the first path that is missing, left over or of another shape. Orbax
      and Flax would name neither the path nor both shapes.
  """
  expected, found = _shapes(like), _shapes(saved)
  for path in sorted(expected.keys() | found.keys()):
    if path not in found:
      raise ValueError(f"{origin} has no {path}, which the config asks for with shape "
                       f"{expected[path]}. {_ADVICE}")
    if path not in expected:
      raise ValueError(f"{origin} has {path} with shape {found[path]}, which the config does not "
                       f"ask for. {_ADVICE}")
    if expected[path] != found[path]:
      raise ValueError(f"{origin} has {path} with shape {found[path]}, but the config asks for "
                       f"{expected[path]}. {_ADVICE}")


def _check_categories(categories, metadata, workdir):
  asked = list(categories.category_names), [int(x) for x in categories.category_ids]
  saved = metadata["category_names"], metadata["category_ids"]
  if list(asked) != list(saved):
    raise ValueError(f"{workdir} was trained on the categories {saved[0]} with ids {saved[1]}, but "
                     f"the data set has {asked[0]} with ids {asked[1]}: use another --workdir")


_ADVICE = "Use the config it was saved with, or another --workdir."


def _shapes(tree):
  # Orbax gives tuples and NamedTuples back as dicts or lists, so only the names are compared.
  paths, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {"/".join(map(_key_name, path)): tuple(leaf.shape) for path, leaf in paths}


def _key_name(key):
  for field in ("key", "name", "idx"):
    if hasattr(key, field):
      return str(getattr(key, field))
  return str(key)


def _latest_step(manager, workdir):
  step = manager.latest_step()
  if step is None:
    raise FileNotFoundError(
        f"{workdir} has no checkpoint yet: train with experiments/train.py --workdir {workdir} "
        "at least to train.checkpoint_every steps")
  return step


def _read_config(workdir):
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
