"""Reads checkpoints, to resume a run or to use the model."""

import contextlib
import os
import shlex
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from mnc_jax.coco.categories import check_same_categories, with_ids
from mnc_jax.coco.faults import count_noun
from mnc_jax.config import Config
from mnc_jax.config.paths import as_workdir
from mnc_jax.model.parameters import init_params
from mnc_jax.training.checkpoint.checksums import check_checksums, check_files
from mnc_jax.training.checkpoint.grouping import has_groups, split_into_groups
from mnc_jax.training.checkpoint.manager import AVERAGED, TRAINED, open_checkpoints
from mnc_jax.training.run_folder import read_config
from mnc_jax.weights.tree import check_fit


class Categories(NamedTuple):
  """The categories of a data set, without background; label i is entry i - 1."""
  category_names: tuple[str, ...]
  category_ids: tuple[int, ...]


def restore(manager: ocp.CheckpointManager, like: Any, *, categories: Any = None) -> Any:
  """Restores the latest checkpoint, bit-equal to what was saved.

  If `like` has an average of the weights and what was saved has not, it begins with the weights;
  if only what was saved has one, it is dropped.

  Args:
    manager: from `open_checkpoints`.
    like: a state with the shapes of what was saved, of arrays or `jax.ShapeDtypeStruct`.
    categories: anything with `category_names` and `category_ids`; must equal the saved ones.

  Returns:
    The state as numpy arrays; `place_state` moves it to the devices.

  Raises:
    FileNotFoundError: if there is no checkpoint.
    ValueError: if the saved state has other entries or shapes than `like`, naming the first,
      or other categories.
  """
  step = _latest_step(manager, manager.directory.parent)
  if not has_optimizer(manager):
    raise ValueError(f"checkpoint {step} of {manager.directory.parent} has weights alone, without "
                     "an optimiser state: use restore_params and a new state")
  metadata = _read_metadata(manager)
  if categories is not None:  # First: other categories have arrays of other shapes.
    _check_categories(categories, metadata, manager.directory.parent)
  optimizer = {"step": like.step, "opt_state": like.opt_state}
  if metadata.get(AVERAGED):
    optimizer[TRAINED] = like.params
  restored = _restore_items(manager, step, {"params": like.params, "optimizer": optimizer})
  saved, trained = restored["params"], restored["optimizer"].pop(TRAINED, None)
  if like.average is None:
    average = None
  else:
    # A copy if there are no others, since a step donates both.
    average = jax.tree.map(np.copy, saved) if trained is None else saved
  return like._replace(params=saved if trained is None else trained, average=average,
                       **restored["optimizer"])


def has_optimizer(manager: ocp.CheckpointManager) -> bool:
  """Returns whether the latest checkpoint is of a run, not of an imported model."""
  return (manager.directory / str(manager.latest_step()) / "optimizer").is_dir()


def restore_params(manager: ocp.CheckpointManager, like: Any, *, categories: Any) -> Any:
  """Restores the weights of the latest checkpoint.

  Args:
    manager: from `open_checkpoints`.
    like: a tree of arrays or `jax.ShapeDtypeStruct`.
    categories: anything with `category_names` and `category_ids`; must equal the saved ones.

  Returns:
    The weights as numpy arrays, a tree as `like`.

  Raises:
    ValueError: as `restore`.
  """
  step = _latest_step(manager, manager.directory.parent)
  _check_categories(categories, _read_metadata(manager), manager.directory.parent)
  return _restore_items(manager, step, {"params": like})["params"]


def describe_source(notes: dict) -> str:
  """Returns the origin of a model, in words, from the `notes` of its checkpoint or file."""
  source, step = notes.get("source", "unknown"), notes.get("step", 0)
  return f"{source}, trained for {count_noun(step, 'step')}" if step else source


def saved_notes(manager: ocp.CheckpointManager) -> dict:
  """Returns the notes of the latest checkpoint of `manager`; empty if there are none."""
  return _read_metadata(manager).get("notes", {})


def saved_scores(manager: ocp.CheckpointManager) -> dict:
  """Returns the scores of the latest checkpoint of `manager`; empty if there are none."""
  return _read_metadata(manager).get("scores", {})


def _read_metadata(manager):
  step = manager.latest_step()
  if step is None:
    return {}
  with _explain_read_errors(manager, step):
    return manager.restore(
        step, args=ocp.args.Composite(metadata=ocp.args.JsonRestore()))["metadata"]


def load_run(workdir: str | os.PathLike[str]) -> tuple[Any, Config, Categories, dict]:
  """Loads the trained model of a run.

  Args:
    workdir: folder of the run.

  Returns:
    `(params, config, Categories, notes)` of the latest checkpoint; `step` is among its notes.

  Raises:
    FileNotFoundError: if the folder, its config or a checkpoint is missing.
    ValueError: if the config does not fit the weights, naming the first that differs.
  """
  workdir = as_workdir(workdir)
  config = read_config(workdir)
  with open_checkpoints(workdir) as manager:
    like = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
    step, restored = _restore_latest(manager, workdir, {"params": like})
  metadata = restored["metadata"]
  categories = Categories(tuple(metadata["category_names"]), tuple(metadata["category_ids"]))
  return (jax.tree.map(jax.numpy.asarray, restored["params"]), config, categories,
          metadata.get("notes", {}) | {"step": step})


def _restore_latest(manager, workdir, items):
  """Returns the latest step and its items, all of one checkpoint: the run may save the next."""
  step = _latest_step(manager, workdir)
  try:
    return step, _restore_items(manager, step, items)
  except ValueError:
    # A run that trains removes checkpoints too, that of best/ with each better one.
    manager.reload()
    if manager.latest_step() == step:
      raise
  step = _latest_step(manager, workdir)
  return step, _restore_items(manager, step, items)


def _restore_items(manager, step, items):
  with _explain_read_errors(manager, step):
    for name in items:
      check_files(manager.directory / str(step) / name)
    saved = manager.item_metadata(step)
  origin = f"checkpoint {step} of {manager.directory.parent}"
  layouts = {name: saved[name].tree if has_groups(like) and not has_groups(saved[name]) else like
             for name, like in items.items()}
  for name, layout in layouts.items():
    check_fit(layout, saved[name], origin)
  # Without shardings, leaves are restored as numpy, whatever devices the run was on.
  like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), layouts)
  with _explain_read_errors(manager, step):
    restored = manager.restore(step, args=ocp.args.Composite(
        metadata=ocp.args.JsonRestore(),
        **{name: ocp.args.StandardRestore(tree) for name, tree in like.items()}))
    for name in items:
      check_checksums(restored[name], restored["metadata"].get("checksums", {}).get(name, {}))
  trees = {name: restored[name] if layout is items[name] else
           split_into_groups(restored[name], items[name], origin)
           for name, layout in layouts.items()}
  return {"metadata": restored["metadata"], **trees}


@contextlib.contextmanager
def _explain_read_errors(manager, step):
  """Adds to errors which checkpoint cannot be read, and how to resume without it."""
  try:
    yield
  except (jax.errors.JaxRuntimeError, PermissionError):
    raise  # A host is lost or permission is denied; the checkpoint may be sound.
  except (ValueError, OSError, KeyError, TypeError, RuntimeError) as error:
    folder = manager.directory / str(step)
    raise ValueError(
        f"checkpoint {step} of {manager.directory.parent} is damaged or cannot be read "
        f"({str(error).splitlines()[0][:200]}): move {folder} away to resume from the checkpoint "
        "before it") from error


def _check_categories(categories, metadata, workdir):
  check_same_categories(
      with_ids(metadata["category_names"], metadata["category_ids"]),
      with_ids(categories.category_names, categories.category_ids),
      first=f"the model in {workdir}", second="the data set", advice=": use another --workdir")


def _latest_step(manager, workdir):
  step = manager.latest_step()
  if step is None:
    raise FileNotFoundError(
        f"{workdir} has no checkpoint yet: train with mnc train "
        f"--config NAME --workdir {shlex.quote(str(workdir))} at least to train.checkpoint_every "
        "steps")
  return step
