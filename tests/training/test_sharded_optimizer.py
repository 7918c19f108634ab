"""Four devices with a part of the optimiser each train like four with the whole of it."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
from helpers.two_processes import run_two
import mnc_jax
from mnc_jax import parallel
from mnc_jax.training import checkpoint, parallel_step, sharded_optimizer, step
from mnc_jax.training.parallel_step import place_state
from mnc_jax.training.sharded_optimizer import split_axis
from mnc_jax.training.step import init_state

SHAPES = {
    "features": {"conv1_1": {"kernel": (3, 3, 4, 8), "bias": (8,)},  # Frozen.
                 "conv3_1": {"kernel": (3, 3, 8, 8), "bias": (8,)}},
    "mask_stage": {"dense": {"kernel": (48, 5), "bias": (5,)}, "norm": {"scale": (48,)}},
    "box_stage": {"odd": {"kernel": (3, 7), "bias": (7,)}}}
CATEGORIES = checkpoint.Categories(("disc", "square"), (3, 7))


def make_params():
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda shape: rng.normal(size=shape).astype(np.float32), SHAPES,
                      is_leaf=lambda x: isinstance(x, tuple))


def quick_loss(params, batch, key, *, config):
  """In place of that of the cascade: gradients that differ by image, 0 for frozen layers."""
  del key, config
  real = batch.image_sizes[:, 0] > 0
  brightness = batch.images.mean(axis=(1, 2, 3)) / 100
  trained = params | {"features": {"conv3_1": params["features"]["conv3_1"]}}
  terms = sum(jnp.sin(brightness[:, None] * leaf.reshape(1, -1)).sum(axis=1)
              for leaf in jax.tree.leaves(trained))
  loss = jnp.sum(terms * real) / jnp.maximum(real.sum(), 1)
  return loss, {"loss": loss}


@pytest.fixture
def quick(monkeypatch):
  """Replaces the cascade by a few arrays and `quick_loss`."""
  parallel_step._compile_train_step.cache_clear()
  monkeypatch.setattr(step, "cascade_loss", quick_loss)
  monkeypatch.setattr(sharded_optimizer, "init_params", lambda key, config: make_params())
  yield
  parallel_step._compile_train_step.cache_clear()


def make_config(**train):
  return tiny.tiny_config(model={"backbone": "vgg16", "frozen_blocks": 1}, train={
      "learning_rate": 0.05, "clip_norm": 2.0, "bias_rate": 2.0, "weight_decay": 0.1,
      "warmup_steps": 2} | train)


def shard(config):
  return dataclasses.replace(
      config, train=dataclasses.replace(config.train, shard_optimizer=True))


def make_batches(count):
  """Two images a device, of which the last device has padding alone."""
  rng = np.random.default_rng(1)
  for _ in range(count):
    batch = jax.device_get(tiny.make_batch(8))
    images = rng.integers(0, 256, (8, 1, 1, 1)).astype(np.uint8) + np.zeros_like(batch.images)
    yield batch._replace(
        images=images, image_sizes=batch.image_sizes * (np.arange(8) < 6)[:, None])


def train(config, state, batches):
  """Returns the state on the devices, and the metrics of the last step."""
  mesh, metrics = parallel.make_mesh(), None
  step_fn, state = parallel_step.make_train_step(config, mesh), place_state(state, config, mesh)
  for batch in batches:
    state, metrics = step_fn(state, parallel.put_batch(batch, mesh))
  return state, jax.device_get(metrics)


def test_the_axis_that_is_cut():
  for shape, axis in (((25088, 4096), 0), ((3, 3, 512, 512), 2), ((3, 3, 64, 128), 3),
                      ((6, 8), 1), ((3, 7), -1), ((4096,), -1), ((), -1)):
    assert split_axis(shape, 4) == axis, shape


@pytest.mark.parametrize("options", [{"optimizer": "sgd"},
                                     {"optimizer": "adamw", "average_decay": 0.9},
                                     {"optimizer": "sgd", "clip_norm": 0.0}])
def test_parts_of_the_optimiser_take_the_steps_of_the_whole(quick, options):
  config, start = make_config(**options), init_state(make_params(), make_config(**options))
  batches = list(make_batches(4))
  whole, expected = train(config, start, batches)
  parts, metrics = train(shard(config), start, batches)
  assert set(metrics) == set(expected)
  for name, value in metrics.items():
    np.testing.assert_allclose(value, expected[name], rtol=1e-5, err_msg=name)
  assert metrics["gradient_norm"] > 2  # What was clipped.
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
               jax.device_get(parts), jax.device_get(whole))
  moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), parts.params, start.params)
  assert moved["features"]["conv1_1"] == {"kernel": 0, "bias": 0}
  assert min(jax.tree.leaves(moved | {"features": moved["features"]["conv3_1"]})) > 1e-2
  if config.train.average_decay:
    assert abs(parts.average["box_stage"]["odd"]["kernel"]
               - parts.params["box_stage"]["odd"]["kernel"]).max() > 1e-3
  # Weights are whole on each device; of the state, all that can be cut is.
  assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves((parts.params, parts.average)))
  held = {leaf.shape: leaf.addressable_shards[1].data.shape
          for leaf in jax.tree.leaves(parts.opt_state) if leaf.ndim}
  assert held == {(3, 3, 8, 8): (3, 3, 2, 8), (48, 5): (12, 5), (3, 7): (3, 7), (8,): (8,),
                  (5,): (5,), (7,): (7,), (48,): (48,)}


def test_a_run_resumes_bit_equal_and_a_checkpoint_fits_either_optimiser(quick, tmp_path):
  config = make_config(optimizer="adamw", average_decay=0.9)
  start, batches = init_state(make_params(), config), list(make_batches(4))
  expected, _ = train(shard(config), start, batches)
  half, _ = train(shard(config), start, batches[:2])
  with checkpoint.open_checkpoints(tmp_path) as manager:
    checkpoint.save(manager, half, shard(config), CATEGORIES)
    manager.wait_until_finished()
    restored = checkpoint.restore(manager, jax.eval_shape(lambda: start))
  jax.tree.map(np.testing.assert_array_equal, restored, jax.device_get(half))
  resumed, _ = train(shard(config), restored, batches[2:])
  jax.tree.map(np.testing.assert_array_equal, *map(jax.device_get, (resumed, expected)))
  other, _ = train(config, restored, batches[2:])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
               *map(jax.device_get, (other, expected)))


def test_frozen_arrays_and_vectors_are_not_sent_in_parts(quick):
  config = shard(make_config(optimizer="sgd"))
  state, batch = init_state(make_params(), config), next(make_batches(1))
  program = parallel_step.make_train_step(config, parallel.make_mesh()).lower(state, batch)
  cut = 3 * 3 * 8 * 8 + 48 * 5
  assert _count_operands("reduce_scatter", program.as_text()) == {"f32": cut}
  assert _count_operands("all_gather", program.as_text()) == {"f32": cut // 4}


@pytest.mark.parametrize("prepare", [shard, lambda config: config])
def test_frozen_arrays_are_not_sent_at_all(quick, prepare):
  config = prepare(make_config(optimizer="sgd"))
  state, batch = init_state(make_params(), config), next(make_batches(1))
  program = parallel_step.make_train_step(
      config, parallel.make_mesh()).lower(state, batch).as_text()
  sent = re.findall(r"stablehlo\.all_reduce\".*? : \(tensor<(.*?)>\)", program, re.DOTALL)
  assert "3x7xf32" in sent  # It cannot be cut.
  assert "3x3x4x8xf32" not in sent


def test_what_the_devices_send_of_the_cascade():
  config = shard(tiny.tiny_config(
      model={"backbone_widths": (8, 16)},
      train={"num_stages": 3, "gradient_exchange_dtype": "bfloat16"}))
  mesh, params = parallel.make_mesh(), tiny.random_params(config)
  state = jax.eval_shape(lambda: init_state(params, config))
  program = parallel_step.make_train_step(config, mesh).lower(state, tiny.make_batch(8)).as_text()
  cut = sum(leaf.size for leaf in jax.tree.leaves(params) if split_axis(leaf.shape, 4) >= 0)
  assert cut > 0.9 * sum(leaf.size for leaf in jax.tree.leaves(params))
  assert _count_operands("reduce_scatter", program) == {"bf16": cut}
  assert _count_operands("all_gather", program) == {"f32": cut // 4}


def _count_operands(name, program):
  """Returns how many numbers of each type the collectives of a program are given."""
  counts = {}
  for operand in re.findall(rf"stablehlo\.{name}\".*? : \(tensor<(.*?)>\)", program, re.DOTALL):
    *dims, dtype = operand.split("x")
    counts[dtype] = counts.get(dtype, 0) + int(np.prod(list(map(int, dims))))
  return counts


def test_pmap_has_no_parts():
  with pytest.raises(ValueError, match="train.shard_optimizer divides the state over a mesh"):
    mnc_jax.make_pmapped_train_step(shard(make_config()))


_PARTS = """
import numpy as np
from jax.sharding import PartitionSpec
from mnc_jax import parallel
tree = {"cut": np.arange(48.0).reshape(3, 16), "whole": np.arange(5)}
placed = parallel.place(tree, parallel.make_mesh(), {"cut": PartitionSpec(None, "data"),
                                                     "whole": parallel.REPLICATED})
found = parallel.to_host(placed)
print(placed["cut"].addressable_shards[0].data.shape,
      [np.array_equal(found[name], tree[name]) for name in tree])
"""


def test_parts_on_other_hosts_are_saved():
  assert run_two(_PARTS) == ["(3, 2) [True, True]"] * 2
