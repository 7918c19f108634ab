import dataclasses
import functools
import os
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from helpers.tiny import override, tiny_config
from mnc_jax import parallel
from mnc_jax.model.parameters import init_params
from mnc_jax.training import checkpoint
from mnc_jax.training.checkpoint import read
from mnc_jax.training.optimizer import learning_rate
from mnc_jax.training.step import init_state
from mnc_jax.weights.tree import leaves_by_path

CATEGORIES = checkpoint.Categories(("disc", "square"), (3, 7))


def small_config():
  """Few arrays, which are written and read one by one."""
  return tiny_config(model={"backbone_widths": (8, 16)}, train={"optimizer": "sgd"})


@functools.cache
def abstract_state(config):
  return jax.eval_shape(lambda: init_state(init_params(jax.random.key(0), config), config))


def make_state(config, *, step=5):
  """A state in which every leaf is noise, so that any mix-up changes values."""
  return noisy(abstract_state(config))._replace(step=jnp.asarray(np.int32(step)))


def noisy(tree):
  rng = np.random.default_rng(0)
  return jax.tree.map(
      lambda x: jnp.asarray(np.asarray(100 * rng.normal(size=x.shape), x.dtype)), tree)


def save_one(workdir, config, *, step=5):
  state = make_state(config, step=step)
  with checkpoint.open_checkpoints(workdir) as manager:
    checkpoint.save(manager, state, config, CATEGORIES)
    manager.wait_until_finished()
  return state


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """A folder with a checkpoint, its config and state; not to be changed."""
  workdir, config = tmp_path_factory.mktemp("run"), tiny_config(train={"clip_norm": 1.0})
  return workdir, config, save_one(workdir, config)


def assert_bit_equal(found, expected):
  chex.assert_trees_all_equal_structs(found, expected)
  chex.assert_trees_all_equal_dtypes(found, expected)
  chex.assert_trees_all_equal(found, expected)


def test_restored_state_is_bit_equal(saved):
  workdir, config, state = saved
  with checkpoint.open_checkpoints(workdir) as manager:
    restored = checkpoint.restore(manager, abstract_state(config))
  assert_bit_equal(restored, state)
  assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(restored))


def test_momentum_of_sgd_is_restored(tmp_path):
  config = tiny_config(train={"optimizer": "sgd", "warmup_steps": 3})
  state = save_one(tmp_path, config)
  with checkpoint.open_checkpoints(tmp_path) as manager:
    restored = checkpoint.restore(manager, abstract_state(config))
  assert_bit_equal(restored, state)


def state_without_groups(config, params):
  """The optimiser's state in checkpoints of version 0.1: one for all groups and the frozen."""
  options, all_of = config.train, lambda params: jax.tree.map(lambda x: True, params)
  if options.optimizer == "adamw":
    rule = optax.adamw(learning_rate(options), mask=all_of)
  else:
    rule = optax.chain(optax.masked(optax.add_decayed_weights(0.1), all_of),
                       optax.sgd(learning_rate(options), momentum=options.momentum))
  return jax.eval_shape(optax.chain(
      optax.clip_by_global_norm(1.0), rule, optax.masked(optax.scale(2.0), all_of),
      optax.masked(optax.set_to_zero(), all_of)).init, params)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_optimiser_states_without_groups_are_converted(tmp_path, optimizer):
  config = tiny_config(train={"optimizer": optimizer},
                       model={"backbone": "resnet26", "resnet_width": 4, "frozen_blocks": 1})
  like = abstract_state(config)
  old = noisy(like._replace(opt_state=state_without_groups(config, like.params)))
  with checkpoint.open_checkpoints(tmp_path) as manager:
    checkpoint.save(manager, old, config, CATEGORIES)
    manager.wait_until_finished()
    restored = checkpoint.restore(manager, like)
  chex.assert_trees_all_equal_structs(restored, like)
  saved, found = leaves_by_path(old.opt_state), leaves_by_path(restored.opt_state)
  for path, leaf in found.items():
    group = re.search(r"inner_states/(\w+)/inner_state/", path)
    np.testing.assert_array_equal(leaf, saved[path.replace(group[0], "")])
  dropped = {path for path in saved if "conv1/kernel" in path and "features" in path}
  assert dropped and not any("features/conv1/kernel" in path for path in found)
  other = tiny_config(**{"model": dataclasses.asdict(config.model)}, train={
      "optimizer": "adamw" if optimizer == "sgd" else "sgd"})
  with (checkpoint.open_checkpoints(tmp_path) as manager,
        pytest.raises(ValueError, match="has no opt_state/1/.*Use the config it was saved with")):
    checkpoint.restore(manager, abstract_state(other))


def test_model_is_loaded_with_config_and_categories(saved):
  workdir, config, state = saved
  params, loaded_config, categories, _ = checkpoint.load_run(workdir)
  assert_bit_equal(params, state.params)
  assert loaded_config == config
  assert categories == CATEGORIES


def test_saving_does_not_read_donated_buffers(tmp_path):
  # The training step reuses the buffers of the state while the checkpoint is being written.
  config, mesh = small_config(), parallel.make_mesh()
  overwrite = parallel.data_parallel(
      lambda s: jax.tree.map(lambda x: x * 0 + 1, s), mesh, inputs=(parallel.REPLICATED,),
      outputs=parallel.REPLICATED, donate=0)
  state = overwrite(parallel.replicate(make_state(config), mesh))
  state = parallel.replicate(make_state(config), mesh)
  expected = jax.tree.map(np.array, state)
  with checkpoint.open_checkpoints(tmp_path) as manager:
    checkpoint.save(manager, state, config, CATEGORIES)
    for _ in range(3):
      state = overwrite(state)
    jax.block_until_ready(state)
    manager.wait_until_finished()
    restored = checkpoint.restore(manager, abstract_state(config))
  chex.assert_trees_all_equal(restored, expected)


def test_latest_is_restored_and_only_some_are_kept(tmp_path):
  config = small_config()
  with checkpoint.open_checkpoints(tmp_path, keep=2) as manager:
    assert manager.latest_step() is None
    for step in (1, 2, 3):
      checkpoint.save(manager, make_state(config, step=step), config, CATEGORIES)
    manager.wait_until_finished()
    restored = checkpoint.restore(manager, abstract_state(config))
    assert manager.all_steps() == [2, 3]
  assert int(restored.step) == 3


def test_a_run_resumed_from_an_earlier_step_replaces_later_checkpoints(tmp_path):
  config = small_config()
  with checkpoint.open_checkpoints(tmp_path, keep=2) as manager:
    for step, reached in ((10, 0.4), (20, 0.5)):
      checkpoint.save(manager, make_state(config, step=step), config, CATEGORIES,
                      scores={"reached": reached})
    manager.wait_until_finished()
  with checkpoint.open_checkpoints(tmp_path, keep=2) as manager:
    checkpoint.save(manager, make_state(config, step=15), config, CATEGORIES,
                    scores={"reached": 0.9})
    manager.wait_until_finished()
    assert manager.all_steps() == [10, 15]
    assert checkpoint.saved_scores(manager) == {"reached": 0.9}


def test_changed_config_is_rewritten(tmp_path):
  config = small_config()
  longer = override(config, train={"num_steps": 4321})
  with checkpoint.open_checkpoints(tmp_path) as manager:
    for step, one in ((1, config), (2, longer)):
      checkpoint.save(manager, make_state(one, step=step), one, CATEGORIES)
    manager.wait_until_finished()
  assert checkpoint.load_run(tmp_path)[1] == longer
  assert sorted(os.listdir(tmp_path)) == ["checkpoints", "config.json"]


def test_missing_folder_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
    checkpoint.load_run(tmp_path / "nowhere")
  assert not (tmp_path / "nowhere").exists()


def test_folder_without_checkpoint_is_named(tmp_path, saved):
  with pytest.raises(FileNotFoundError, match=f"{tmp_path} has no checkpoint.*mnc train"):
    checkpoint.load_run(tmp_path)
  (tmp_path / "config.json").write_text((saved[0] / "config.json").read_text())
  with pytest.raises(FileNotFoundError, match=f"{tmp_path} has no checkpoint yet"):
    checkpoint.load_run(tmp_path)
  with (checkpoint.open_checkpoints(tmp_path) as manager,
        pytest.raises(FileNotFoundError, match="no checkpoint yet")):
    checkpoint.restore(manager, abstract_state(saved[1]))


@pytest.mark.parametrize("fields, message", [
    ({"mask_size": 13}, r"mask_stage/mask/bias with shape \(144,\), .* needs \(169,\)"),
    ({"backbone_widths": (8, 16, 16)}, r"has features/\S+ with shape .* does not have"),
    ({"backbone_widths": (8, 16, 16, 16, 16)}, r"has no features/\S+, which the config needs"),
])
def test_config_that_does_not_fit_is_rejected(saved, fields, message):
  workdir, config, _ = saved
  other = override(config, model=fields)
  with checkpoint.open_checkpoints(workdir) as manager, pytest.raises(ValueError, match=message):
    checkpoint.restore(manager, abstract_state(other))


def test_other_categories_are_named_before_the_arrays_that_do_not_fit(saved):
  workdir, config, _ = saved
  like = abstract_state(override(config, model={"num_categories": 4}))
  more = checkpoint.Categories(("disc", "square", "star"), (3, 7, 8))
  message = "has 2 categories, the data set has 3; number 3 is missing in the first"
  with checkpoint.open_checkpoints(workdir) as manager:
    with pytest.raises(ValueError, match=message):
      checkpoint.restore(manager, like, categories=more)
    with pytest.raises(ValueError, match=message):
      checkpoint.restore_params(manager, like.params, categories=more)


def test_other_optimizer_is_rejected(saved):
  workdir, config, _ = saved
  other = override(config, train={"optimizer": "sgd"})
  with (checkpoint.open_checkpoints(workdir) as manager,
        pytest.raises(ValueError, match="opt_state/")):
    checkpoint.restore(manager, abstract_state(other))


def test_edited_config_is_checked(tmp_path):
  config = small_config()
  save_one(tmp_path, config)
  path = tmp_path / "config.json"
  text = path.read_text()
  path.write_text(text.replace('"mask_size": 12', '"mask_size": 13'))
  with pytest.raises(ValueError, match="checkpoint 5 of .* mask_stage/mask"):
    checkpoint.load_run(tmp_path)
  path.write_text(text.replace('"mask_size"', '"mask_sise"'))
  with pytest.raises(ValueError, match=r"config.json: unknown config field 'model.mask_sise'"):
    checkpoint.load_run(tmp_path)
  path.write_text(text[:40])
  with pytest.raises(ValueError, match=r"config.json: "):
    checkpoint.load_run(tmp_path)


def test_saving_prints_nothing(saved, tmp_path, capfd):
  save_one(tmp_path, saved[1])
  checkpoint.load_run(tmp_path)
  captured = capfd.readouterr()
  assert captured.out + captured.err == ""


def test_weights_and_notes_are_of_one_checkpoint(tmp_path, monkeypatch):
  """The run may save the next one while this one is read."""
  config = small_config()
  with checkpoint.open_checkpoints(tmp_path) as manager:
    for step, name in ((1, "first"), (2, "second")):
      checkpoint.save(manager, make_state(config, step=step), config, CATEGORIES,
                      notes={"source": name})
      manager.wait_until_finished()
  latest = [2, 1]
  monkeypatch.setattr(read, "_latest_step", lambda manager, workdir: latest.pop())
  assert checkpoint.load_run(tmp_path)[3] == {"source": "first", "step": 1}


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_not_taken_for_damaged(
    tmp_path, monkeypatch):
  """As the only one in best/, when validation finds a better state."""
  config, find = small_config(), read._latest_step
  def replace(manager, workdir):
    step = find(manager, workdir)
    if step == 1:
      with checkpoint.open_checkpoints(tmp_path, keep=1) as other:
        checkpoint.save(other, make_state(config, step=2), config, CATEGORIES)
        other.wait_until_finished()
    return step
  save_one(tmp_path, config, step=1)
  monkeypatch.setattr(read, "_latest_step", replace)
  params, *_, notes = checkpoint.load_run(tmp_path)
  assert notes["step"] == 2
  assert_bit_equal(params, make_state(config).params)
  assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["2"]


def test_an_imported_model_has_weights_and_notes_but_no_optimizer(tmp_path):
  config = small_config()
  state = make_state(config)
  params = jax.tree.map(np.asarray, state.params)
  checkpoint.save_model(tmp_path, params, config, CATEGORIES, notes={"source": "a file"})
  found, found_config, categories, _ = checkpoint.load_run(tmp_path)
  assert_bit_equal(found, state.params)
  assert (found_config, categories) == (config, CATEGORIES)
  assert checkpoint.load_run(tmp_path)[3] == {"source": "a file", "step": 0}
  assert checkpoint.describe_source(checkpoint.load_run(tmp_path)[3]) == "a file"
  like = abstract_state(config)
  with checkpoint.open_checkpoints(tmp_path) as manager:
    assert manager.latest_step() == 0
    assert not checkpoint.has_optimizer(manager)
    assert_bit_equal(
        checkpoint.restore_params(manager, like.params, categories=CATEGORIES), state.params)
    with pytest.raises(ValueError, match="checkpoint 0 of .* has weights alone"):
      checkpoint.restore(manager, like)
    # Training continues from it, and its checkpoints have an optimiser.
    checkpoint.save(manager, state, config, CATEGORIES, notes={"source": "a file"})
    manager.wait_until_finished()
    assert checkpoint.has_optimizer(manager)
  assert (checkpoint.describe_source(checkpoint.load_run(tmp_path)[3])
          == "a file, trained for 5 steps")
  with pytest.raises(ValueError, match="already has checkpoints, the last of step 5"):
    checkpoint.save_model(tmp_path, params, config, CATEGORIES, notes={})
