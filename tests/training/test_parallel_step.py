"""Four fake devices train like one; the mesh and pmap give the same bits."""

import collections
import functools
import math
import re

from flax import jax_utils
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
import mnc_jax
from mnc_jax import parallel
from mnc_jax.training import parallel_step
from mnc_jax.training.step import TrainState, init_state, step_key, train_step


def small_config(*, model=(), train=()):
  """Three stages on a shallow backbone: the devices share any cascade in the same way."""
  return tiny.tiny_config(model={"backbone_widths": (8, 16)} | dict(model),
                          train={"num_stages": 3} | dict(train))


def make_state(config):
  start = jax.jit(functools.partial(init_state, config=config))
  return jax.device_get(start(tiny.random_params(config)))


@pytest.fixture(autouse=True)
def _new_steps():
  """Lets no test find the compiled step of another, whose training step was replaced."""
  parallel_step._compile_train_step.cache_clear()


def count_traces(monkeypatch, function):
  """Replaces the training step by a function; returns the shapes of its traces."""
  traces = []

  def counted(*args, **kwargs):
    traces.append(jax.tree.map(jnp.shape, args))
    return function(*args, **kwargs)

  monkeypatch.setattr(parallel_step, "train_step", counted)
  return traces


def test_four_devices_take_the_step_of_one(monkeypatch):
  # All candidates are sampled, so that the devices' keys do not matter; SGD without clipping, so
  # that a gradient that came out four times too large would show (Adam would hide it).
  config = tiny.sample_everything(small_config(
      model={"box_gradient_clip": 1e-3},
      train={"optimizer": "sgd", "learning_rate": 0.1, "clip_norm": 0.0, "average_decay": 0.5}))
  state = make_state(config)
  # The last image is padding: its device has no weight.
  batch = jax.tree.map(lambda x: x.at[3].set(jnp.zeros_like(x[3])), tiny.make_batch(4))
  one, metrics = jax.jit(functools.partial(train_step, config=config))(
      state, batch, step_key(0, 0, 0))
  mesh = parallel.make_mesh()
  assert mesh.size == 4
  traces = count_traces(monkeypatch, train_step)
  step = parallel_step.make_train_step(config, mesh)
  start = parallel.replicate(state, mesh)
  four, metrics_four = step(start, parallel.put_batch(jax.device_get(batch), mesh))
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(start))
  assert metrics_four["loss"].shape == ()
  np.testing.assert_allclose(metrics_four["loss"], metrics["loss"], rtol=1e-5)
  np.testing.assert_allclose(metrics_four["gradient_norm"], metrics["gradient_norm"], rtol=1e-4)
  moved = 0.0
  for before, a, b in zip(*(jax.tree.leaves(x.params) for x in (state, one, four)), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)
    moved = max(moved, float(abs(a - before).max()))
  # After the first update its share is .9.
  for before, a, b in zip(*map(jax.tree.leaves, (state.params, one.params, four.average)),
                          strict=True):
    np.testing.assert_allclose(b, 0.1 * before + 0.9 * a, atol=2e-5)
  assert moved > 1e-2
  # Every device holds the same copy afterwards.
  for leaf in jax.tree.leaves(four.params):
    first, *others = (np.asarray(shard.data) for shard in leaf.addressable_shards)
    assert len(others) == 3
    for other in others:
      np.testing.assert_array_equal(other, first)
  # The new state and other images use the same compiled program.
  other = tiny.make_batch(4, seed=1, instances=3, padding=1)
  five, _ = step(four, parallel.put_batch(jax.device_get(other), mesh))
  assert int(five.step) == 2
  assert len(traces) == step._cache_size() == 1


def lower_steps(config):
  """Returns the step on the mesh and by pmap, two images a device, as StableHLO."""
  mesh, state, batch = parallel.make_mesh(), make_state(config), tiny.make_batch(8)
  by_device = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), batch)
  pmapped = mnc_jax.make_pmapped_train_step(config).lower(jax_utils.replicate(state), by_device)
  return [parallel_step.make_train_step(config, mesh).lower(state, batch).as_text(),
          pmapped.as_text()]


def exchanged_bytes(program):
  """Returns the bytes that the all-reduces of a program send, by type."""
  sent, sizes = collections.Counter(), {"f32": 4, "bf16": 2, "i32": 4}
  for operand in re.findall(r"all_reduce.*?\}\) : \(tensor<(.*?)>\)", program, re.DOTALL):
    *dims, dtype = operand.split("x")
    sent[dtype] += sizes[dtype] * math.prod(map(int, dims))
  return sent


def test_gradients_exchanged_in_bfloat16_take_two_bytes_a_parameter():
  config = small_config(train={"gradient_exchange_dtype": "bfloat16"})
  parameters = sum(leaf.size for leaf in jax.tree.leaves(tiny.random_params(config)))
  for program in lower_steps(config):
    sent = exchanged_bytes(program)
    assert sent["bf16"] == 2 * parameters
    # The losses, and the numbers of images.
    assert sum(sent.values()) - sent["bf16"] < 64


def test_four_devices_take_the_step_of_one_to_the_rounding_of_bfloat16():
  config = tiny.sample_everything(small_config(train={
      "optimizer": "sgd", "learning_rate": 0.1, "gradient_exchange_dtype": "bfloat16"}))
  state, batch, mesh = make_state(config), tiny.make_batch(4), parallel.make_mesh()
  one, metrics = jax.jit(functools.partial(train_step, config=config))(
      state, batch, step_key(0, 0, 0))
  step = parallel_step.make_train_step(config, mesh)
  four, metrics_four = step(
      parallel.replicate(state, mesh), parallel.put_batch(jax.device_get(batch), mesh))
  np.testing.assert_allclose(metrics_four["loss"], metrics["loss"], rtol=1e-5)
  moved = [np.concatenate([np.ravel(a - b) for a, b in zip(
      jax.tree.leaves(jax.device_get(new.params)), jax.tree.leaves(state.params), strict=True)])
           for new in (one, four)]
  error = np.linalg.norm(moved[1] - moved[0]) / np.linalg.norm(moved[0])
  # Four terms with 2^-9 at most, which cancel in part, and three sums of them.
  assert 1e-4 < error < 2**-7


def test_each_bucket_is_compiled_once(monkeypatch):
  def mean_pixel(state, batch, key, *, config, mean_over_devices):
    return (state._replace(step=state.step + 1),
            mean_over_devices({"mean": batch.images.mean()}, 1))

  traces, mesh = count_traces(monkeypatch, mean_pixel), parallel.make_mesh()
  step = parallel_step.make_train_step(tiny.tiny_config(), mesh)
  state = parallel.replicate(TrainState(np.int32(0), {}, ()), mesh)
  for seed, side in enumerate((64, 96, 64, 96, 64)):
    batch = jax.device_get(tiny.make_batch(4, seed=seed, side=side))
    state, metrics = step(state, parallel.put_batch(batch, mesh))
    np.testing.assert_allclose(metrics["mean"], batch.images.mean(), rtol=1e-5)
  assert [batch.images[1] for _, batch, _ in traces] == [64, 96]


def test_only_configs_of_the_same_step_share_its_program():
  mesh = parallel.make_mesh()
  make = lambda **train: parallel_step.make_train_step(
      tiny.tiny_config(data={"page": len(train)}, train=train), mesh)
  assert make() is make(num_steps=7, evaluate_every=3, log_every=1)
  cosine = [make(schedule="cosine", num_steps=steps) for steps in (7, 8)]
  # A field of the loss, of the optimiser, and the length of the cosine.
  steps = [make(), make(rois_per_image=9), make(warmup_steps=3), *cosine]
  assert len(set(steps)) == len(steps)


def test_pmap_takes_the_steps_of_the_mesh_bit_by_bit():
  config, mesh = small_config(train={"average_decay": 0.5}), parallel.make_mesh()
  state = make_state(config)
  step = parallel_step.make_train_step(config, mesh)
  pmapped = mnc_jax.make_pmapped_train_step(config)
  on_mesh, with_axis = parallel.replicate(state, mesh), jax_utils.replicate(state)
  for seed in range(4):
    batch = jax.device_get(tiny.make_batch(8, seed=seed))
    on_mesh, metrics = step(on_mesh, parallel.put_batch(batch, mesh))
    with_axis, metrics_with_axis = pmapped(
        with_axis, jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), batch))
    for found, expected in ((with_axis, on_mesh), (metrics_with_axis, metrics)):
      jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, np.stack([b] * 4)),
                   jax.device_get(found), jax.device_get(expected))
  assert int(on_mesh.step) == 4
  assert abs(on_mesh.params["box_stage"]["conv"]["kernel"]
             - state.params["box_stage"]["conv"]["kernel"]).max() > 1e-3


def test_each_device_has_its_own_key():
  seeds = []
  mesh = parallel.make_mesh()
  keys = parallel.data_parallel(
      lambda step: jax.random.key_data(step_key(7, step, jax.lax.axis_index(parallel.AXIS)))[None],
      mesh, inputs=(parallel.REPLICATED,), outputs=parallel.SHARDED)
  found = parallel.local_rows(keys(parallel.replicate(np.int32(3), mesh)))
  for device in range(4):
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), 3), device)
    np.testing.assert_array_equal(found[device], jax.random.key_data(key))
    seeds.append(tuple(found[device]))
  assert len(set(seeds)) == 4


def test_losses_are_the_mean_over_all_images_without_padding():
  config, mesh = tiny.sample_everything(tiny.tiny_config()), parallel.make_mesh()
  pair = jax.device_get(tiny.make_batch(2))
  # One image per device: two devices have padding alone, or the same two images again.
  padded, twice = (jax.tree.map(lambda *rows: np.concatenate(rows), pair, other)
                   for other in (jax.tree.map(np.zeros_like, pair), pair))
  losses = parallel_step.make_eval_step(config, mesh)
  params = parallel.replicate(tiny.random_params(config), mesh)
  found, expected = (losses(params, parallel.put_batch(x, mesh)) for x in (padded, twice))
  assert (int(found.pop("images")), int(expected.pop("images"))) == (2, 4)
  assert set(found) == {"loss", *(f"loss_{stage}" for stage in range(1, 6))}
  for name, value in found.items():
    assert value > 0.1, name
    np.testing.assert_allclose(value, expected[name], rtol=1e-4)
