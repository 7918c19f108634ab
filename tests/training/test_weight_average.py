"""The average of the weights: its numbers, and who sees it."""

import functools
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
import mnc_jax
from mnc_jax import cli
from mnc_jax.config import Config
from mnc_jax.config.validation import check_values
from mnc_jax.training import checkpoint, validation
from mnc_jax.training.step import (
  TrainState,
  init_state,
  step_key,
  train_step,
  update_average,
  update_state,
)
from mnc_jax.weights.tree import leaves_by_path

# The decays of the first updates are 1/10, 2/11, and from then on this one, below 3/12.
CONFIG = tiny.tiny_config(model={"backbone_widths": (8, 16)}, train={
    "num_stages": 3, "average_decay": 0.2, "learning_rate": 0.01})
PLAIN = tiny.override(CONFIG, train={"average_decay": 0.0})
CATEGORIES = checkpoint.Categories(("disc", "square"), (3, 7))


@functools.cache
def compiled():
  return jax.jit(functools.partial(train_step, config=CONFIG))


def take_step(state):
  step = int(state.step)
  return jax.device_get(compiled()(
      state, tiny.make_batch(2, seed=step), step_key(0, step, 0))[0])


@functools.cache
def states():
  """The states of four steps, the first of them of step 0."""
  found = [jax.device_get(init_state(tiny.random_params(CONFIG), CONFIG))]
  for _ in range(3):
    found.append(take_step(found[-1]))
  return found


def save(folder, state, config):
  with checkpoint.open_checkpoints(folder) as manager:
    checkpoint.save(manager, state, config, CATEGORIES)
    checkpoint.wait_until_written(manager)


def restore(folder, config):
  like = jax.eval_shape(lambda: init_state(tiny.random_params(config), config))
  with checkpoint.open_checkpoints(folder) as manager:
    return checkpoint.restore(manager, like, categories=CATEGORIES)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run that was saved after two steps; not to be changed."""
  folder = tmp_path_factory.mktemp("averaged") / "run"
  save(folder, states()[2], CONFIG)
  return folder


def assert_equal(found, expected):
  chex.assert_trees_all_equal_structs(found, expected)
  chex.assert_trees_all_equal_dtypes(found, expected)
  chex.assert_trees_all_equal(found, expected)


def farthest(one, other):
  return max(map(lambda a, b: float(np.abs(a - b).max()), *map(jax.tree.leaves, (one, other))))


def test_the_average_is_that_of_the_recursion():
  expected = states()[0].params
  for state, decay in zip(states()[1:], (1 / 10, 2 / 11, 0.2), strict=True):
    expected = jax.tree.map(
        lambda old, new, d=decay: d * np.float64(old) + (1 - d) * np.float64(new),
        expected, state.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
                 state.average, expected)
  assert {leaf.dtype for leaf in jax.tree.leaves(state.average)} == {np.dtype(np.float32)}
  assert farthest(state.average, state.params) > 1e-4


def test_a_run_resumes_bit_by_bit(run):
  restored = restore(run, CONFIG)
  assert_equal(restored, states()[2])
  assert_equal(take_step(restored), states()[3])


def test_the_model_of_a_run_is_the_average(run, tmp_path):
  saved = states()[2]
  assert farthest(saved.average, saved.params) > 1e-4
  assert_equal(jax.device_get(mnc_jax.load(run).params), saved.average)
  with checkpoint.open_checkpoints(run) as manager:
    assert_equal(checkpoint.restore_params(manager, saved.params, categories=CATEGORIES),
                 saved.average)
  cli.run("export", arguments=["--workdir", str(run), "--output", str(tmp_path / "a.safetensors")])
  assert_equal(jax.device_get(mnc_jax.load(tmp_path / "a.safetensors").params), saved.average)


def test_a_run_resumes_without_its_average(run):
  restored = restore(run, PLAIN)
  assert_equal(restored, states()[2]._replace(average=None))


def test_a_run_resumes_with_an_average_that_begins_with_its_weights(tmp_path):
  state = states()[2]._replace(average=None)
  save(tmp_path, state, PLAIN)
  restored = restore(tmp_path, CONFIG)
  assert_equal(restored, state._replace(average=state.params))
  # A step donates both, whatever of them shares memory.
  assert not any(np.shares_memory(a, b) for a, b in zip(
      *map(jax.tree.leaves, (restored.params, restored.average)), strict=True))


def test_without_an_average_nothing_is_kept_or_saved_for_it(tmp_path):
  state = init_state(tiny.random_params(PLAIN), PLAIN)
  assert state.average is None and state.evaluated is state.params
  paths = leaves_by_path(state)
  assert not [path for path in paths if path.startswith("average")] and len(paths) == len(
      jax.tree.leaves((state.step, state.params, state.opt_state)))
  save(tmp_path, state, PLAIN)
  with checkpoint.open_checkpoints(tmp_path) as manager:
    items = manager.item_metadata(0)
    assert set(items["optimizer"]) == {"step", "opt_state"}
    metadata = (manager.directory / "0" / "metadata" / "metadata").read_text()
  assert "averaged" not in metadata and "trained" not in metadata


def test_validation_sees_the_average(monkeypatch):
  seen = []

  class Enough(Exception):
    pass

  def predict_all(find, params, config, source, *, beat, each_batch):
    seen.extend(params)
    each_batch(())
    raise Enough

  monkeypatch.setattr(validation, "predict_all", predict_all)
  monkeypatch.setattr(validation.parallel, "put_batch", lambda batch, mesh: batch)
  stub = types.SimpleNamespace(find=None, config=CONFIG, source=None, mesh=None,
                               losses=lambda params, batch: seen.append(params))
  with pytest.raises(Enough):
    validation.validate(stub, states()[2], None)
  assert len(seen) == 2 and all(params is states()[2].average for params in seen)


def test_only_updates_move_the_average_and_frozen_weights_stay():
  """Gradients 1 and 3, twice: the weight moves by -2 after steps 2 and 4."""
  params = {"features": {"conv1_1": {"kernel": jnp.full((1, 1), 0.1)},
                         "conv3_1": {"kernel": jnp.full((1, 1), 4.0)}}}
  config = tiny.override(Config(), train={
      "learning_rate": 1.0, "momentum": 0.0, "weight_decay": 0.0, "decay_steps": (),
      "accumulate_steps": 2, "average_decay": 0.9})
  state, averages = init_state(params, config), []
  for gradient in (1.0, 3.0, 1.0, 3.0):
    gradients = {"features": {"conv1_1": {"kernel": None},
                              "conv3_1": {"kernel": jnp.full((1, 1), gradient)}}}
    state, _ = update_state(state, gradients, {}, config=config, norm=jnp.float32(gradient))
    state = update_average(state, config)
    averages.append(state.average["features"]["conv3_1"]["kernel"].item())
    assert state.average["features"]["conv1_1"]["kernel"].item() == np.float32(0.1)
  first = 0.1 * 4 + 0.9 * 2
  np.testing.assert_allclose(averages, [4, first, first, 2 / 11 * first + 0], rtol=1e-6)


def test_a_decay_near_one_keeps_its_digits():
  config = tiny.override(Config(), train={"average_decay": 0.9999})
  state = TrainState(jnp.int32(10**6 + 1), {"kernel": jnp.ones(1)}, (), {"kernel": jnp.zeros(1)})
  np.testing.assert_allclose(
      update_average(state, config).average["kernel"], 1e-4, rtol=1e-6)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_rejected(decay):
  with pytest.raises(ValueError, match=r"average_decay is .*: it must be 0 or more, and below 1"):
    check_values(tiny.override(CONFIG, train={"average_decay": decay}))
