"""A run that resumes with another config, and one that starts beside the best state of another."""

import pytest

from helpers import tiny
from helpers.toy_sets import make_source
from mnc_jax.training import changes, checkpoint, initial_state, loop, run_folder
from training.test_checkpoint import CATEGORIES, make_state, save_one, small_config

CONFIG = small_config()


def test_changes_of_a_run_that_resumes_are_listed_with_its_rate():
  saved = tiny.tiny_config(train={"schedule": "cosine"})
  assert changes.describe_changes(saved, saved, 50) == ""
  changed = tiny.override(saved, data={"batch_size": 4},
                          train={"num_steps": 200, "proposals": {"pre_nms": 7}})
  assert changes.describe_changes(saved, changed, 50).splitlines() == [
      ", with another config than it was saved with:", "  data.batch_size: 8 -> 4",
      "  train.proposals.pre_nms: 100 -> 7", "  train.num_steps: 100 -> 200",
      # Half of 3e-3, and (1 + cos(pi / 4)) / 2 of it.
      "  learning rate of the next step: 0.0015 -> 0.00256"]


def test_weights_that_a_run_starts_from_have_no_effect_when_it_resumes():
  started = tiny.override(CONFIG, train={"init_weights": "a.npz", "init_only_backbone": True})
  assert changes.describe_changes(started, started, 50) == ""
  other = tiny.override(CONFIG, train={"init_weights": "b.npz"})
  no_effect = (" (no effect: the run resumes with its own weights; another --workdir starts a new "
               "one)")
  assert changes.describe_changes(started, other, 50).splitlines()[1:] == [
      f"  train.init_weights: 'a.npz' -> 'b.npz'{no_effect}",
      f"  train.init_only_backbone: True -> False{no_effect}"]
  # The mean is among the weights.
  other = tiny.override(CONFIG, model={"pixel_mean_bgr": (1.0, 2.0, 3.0)})
  assert changes.describe_changes(CONFIG, other, 50).endswith(f" -> (1.0, 2.0, 3.0){no_effect}")
  assert changes.keep_start(CONFIG, other) == CONFIG


def test_the_config_that_is_saved_names_the_weights_that_the_run_started_from(
    tmp_path, monkeypatch):
  source, started = make_source([(64, 64)]), tiny.override(CONFIG, train={"init_weights": "a.npz"})
  def save_at_once(run, state, batches):
    run.saver.saved = None
    run.saver.save_last(state, waits=lambda: False)
    return state
  monkeypatch.setattr(loop, "train", save_at_once)
  with checkpoint.open_checkpoints(tmp_path) as manager:
    checkpoint.save(manager, make_state(started), started, source)
    manager.wait_until_finished()
    other = tiny.override(CONFIG, train={"init_weights": "b.npz", "init_only_backbone": True,
                                         "num_steps": 7})
    loop.train_on(source, other, tmp_path, manager, None)
  options = run_folder.read_config(tmp_path).train
  assert (options.init_weights, options.init_only_backbone, options.num_steps) == (
      "a.npz", False, 7)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run that was saved after five steps; not to be changed."""
  workdir = tmp_path_factory.mktemp("run")
  save_one(workdir, CONFIG)
  return workdir


@pytest.mark.parametrize(("fields", "lines"), [
    ({"train": {"optimizer": "adamw", "num_steps": 7}}, ["  train.optimizer: 'sgd' -> 'adamw'"]),
    ({"train": {"accumulate_steps": 2}}, ["  train.accumulate_steps: 1 -> 2"]),
    ({"model": {"dense_width": 16}, "data": {"batch_size": 4}}, ["  model.dense_width: 32 -> 16"])])
def test_arrays_that_do_not_fit_are_explained_by_what_changed(run, fields, lines):
  with (checkpoint.open_checkpoints(run) as manager,
        pytest.raises(ValueError, match="checkpoint 5 of .*have changed since") as caught):
    initial_state.resume(tiny.override(CONFIG, **fields), manager, CATEGORIES)
  assert str(caught.value).splitlines()[1:] == lines


def test_arrays_of_imported_weights_are_explained_by_the_model_alone(tmp_path):
  checkpoint.save_model(tmp_path, make_state(CONFIG).params, CONFIG, CATEGORIES, notes={})
  changed = tiny.override(CONFIG, model={"dense_width": 16}, train={"optimizer": "adamw"})
  with (checkpoint.open_checkpoints(tmp_path) as manager,
        pytest.raises(ValueError, match="checkpoint 0 of .*have changed since") as caught):
    initial_state.resume(changed, manager, CATEGORIES)
  assert str(caught.value).splitlines()[1:] == ["  model.dense_width: 32 -> 16"]


@pytest.fixture
def start(monkeypatch):
  """A function that begins a run in a folder; it computes nothing, and returns what it would do."""
  monkeypatch.setattr(initial_state, "place_state", lambda state, config, mesh: state)
  for name in ("initialise", "resume"):
    monkeypatch.setattr(initial_state, name, lambda *arguments, name=name: (name, {}))
  def begin(workdir):
    with checkpoint.open_checkpoints(workdir) as manager:
      return initial_state.start_state(CONFIG, manager, make_source([(8, 8)]), None)[0]
  return begin


@pytest.mark.parametrize("imported", [False, True])
def test_a_new_run_is_not_compared_with_the_best_state_of_an_earlier_one(start, tmp_path, imported):
  if imported:
    checkpoint.save_model(tmp_path, make_state(CONFIG).params, CONFIG, CATEGORIES, notes={})
  # Of a run that ended before its first validation.
  checkpoint.open_checkpoints(tmp_path / "best").close()
  assert start(tmp_path) == ("resume" if imported else "initialise")
  save_one(tmp_path / "best", CONFIG)
  with pytest.raises(ValueError, match=r"/best already has checkpoints, the last of step 5: this "
                     r"run starts from step 0.* Move the folder away, or give another --workdir"):
    start(tmp_path)


def test_a_run_that_resumes_keeps_its_best_state(start, tmp_path):
  for folder in (tmp_path, tmp_path / "best"):
    save_one(folder, CONFIG)
  assert start(tmp_path) == "resume"
