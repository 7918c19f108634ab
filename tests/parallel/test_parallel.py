"""Four fake devices do what one does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
from helpers.two_processes import run_two
from mnc_jax import parallel
from mnc_jax.evaluation.predict_split import make_predict_and_count
from mnc_jax.model.cascade import init_params
from mnc_jax.model.inference import predict
from mnc_jax.training.step import init_state, make_train_step, step_key, train_step


def count_traces(monkeypatch, name):
  """Lets parallel.py call its function `name` through a list of its traces."""
  traces, function = [], getattr(parallel, name)

  def counted(*args, **kwargs):
    traces.append(jax.tree.map(jnp.shape, args))
    return function(*args, **kwargs)

  monkeypatch.setattr(parallel, name, counted)
  return traces


def test_four_devices_take_the_step_of_one(monkeypatch):
  # All candidates are sampled, so that the devices' keys do not matter; SGD, so that a
  # gradient that came out four times too large would show (Adam would hide it).
  config = tiny.sample_everything(tiny.tiny_config(
      model={"box_gradient_clip": 1e-3},
      train={"optimizer": "sgd", "learning_rate": 0.1, "clip_norm": 0.0}))
  state = jax.jit(lambda: init_state(init_params(jax.random.key(0), config), config))()
  # The last image only fills up the batch: its device has nothing to say.
  batch = jax.tree.map(lambda x: x.at[3].set(jnp.zeros_like(x[3])), tiny.make_batch(4))
  one, metrics = jax.jit(functools.partial(train_step, config=config))(
      state, batch, step_key(0, 0, 0))
  assert jax.local_device_count() == 4
  traces = count_traces(monkeypatch, "train_step")
  step = make_train_step(config)
  four, metrics_four = step(parallel.replicate(state), parallel.shard(jax.device_get(batch)))
  np.testing.assert_allclose(metrics_four["loss"], np.full(4, metrics["loss"]), rtol=1e-5)
  moved = 0.0
  for start, a, b in zip(*(jax.tree.leaves(x.params) for x in
                           (state, one, parallel.unreplicate(four))), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)
    moved = max(moved, float(abs(a - start).max()))
  assert moved > 1e-2
  # Every device holds the same copy afterwards.
  for leaf in jax.tree.leaves(jax.device_get(four.params)):
    np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
  # The state that comes out and other images go through what was compiled.
  other = tiny.make_batch(4, seed=1, instances=3, padding=1)
  five, _ = step(four, parallel.shard(jax.device_get(other)))
  assert int(parallel.unreplicate(five).step) == 2
  assert len(traces) == 1


def test_each_bucket_is_compiled_once(monkeypatch):
  def mean_pixel(state, batch, key, *, config, mean_over_devices):
    return state._replace(step=state.step + 1), {"mean": batch.images.mean()}

  monkeypatch.setattr(parallel, "train_step", mean_pixel)
  traces = count_traces(monkeypatch, "train_step")
  step = make_train_step(tiny.tiny_config())
  state = parallel.replicate(step.TrainState(np.int32(0), {}, ()))
  for seed, side in enumerate((64, 96, 64, 96, 64)):
    batch = tiny.make_batch(4, seed=seed, side=side)
    state, metrics = step(state, parallel.shard(jax.device_get(batch)))
    np.testing.assert_allclose(metrics["mean"], np.mean(batch.images, axis=(1, 2, 3)), rtol=1e-5)
  assert [batch.images[1] for _, batch, _ in traces] == [64, 96]


def test_four_devices_predict_what_one_does(monkeypatch):
  config = tiny.tiny_config()
  params = jax.jit(lambda: init_params(jax.random.key(0), config))()
  batch = tiny.make_batch(4)
  one = jax.jit(functools.partial(predict, config=config))(
      params, batch.images, batch.image_sizes)
  sharded = parallel.shard((np.asarray(batch.images), np.asarray(batch.image_sizes)))
  traces = count_traces(monkeypatch, "predict_ensemble")
  predict_on_all, params = make_predict_and_count([config]), parallel.replicate([params])
  four = parallel.unshard(predict_on_all(params, *sharded))
  np.testing.assert_array_equal(four.labels, one.labels)
  np.testing.assert_allclose(four.boxes, one.boxes, atol=1e-3)
  np.testing.assert_allclose(four.masks, one.masks, atol=1e-4)
  predict_on_all(params, sharded[0][:, :, ::-1], sharded[1])
  assert len(traces) == 1


def test_four_devices_see_all_models_of_an_ensemble(monkeypatch):
  def weigh(models, images, image_sizes, *, configs):
    assert [config.model.dense_width for config in configs] == [32, 48]
    return models[0]["a"] * images[:, 0, 0, 0] + models[1]["b"]["c"] * image_sizes[:, 0]

  monkeypatch.setattr(parallel, "predict_ensemble", weigh)
  configs = [tiny.tiny_config(), tiny.tiny_config(model={"dense_width": 48})]
  predict_on_all = make_predict_and_count(configs)
  models = parallel.replicate([{"a": np.int32(2)}, {"b": {"c": np.int32(100)}}])
  images = np.arange(8, dtype=np.int32).reshape(8, 1, 1, 1)
  sizes = np.stack([np.arange(8)] * 2, axis=1)
  got = parallel.unshard(predict_on_all(models, *parallel.shard((images, sizes))))
  np.testing.assert_array_equal(got, 102 * np.arange(8))


def test_a_batch_that_cannot_be_cut_says_so():
  with pytest.raises(ValueError, match="6 images cannot be cut over 4 devices.*batch_size"):
    parallel.shard(np.zeros((6, 2)))


def test_unshard_undoes_shard():
  x = np.arange(24).reshape(8, 3)
  np.testing.assert_array_equal(parallel.unshard(parallel.shard(x)), x)


# Shares of different lengths, with a letter of two bytes.
_GATHER = """
from mnc_jax import parallel
print(parallel.gather([[1], "\u00e9" * 9, 1 / 3] if sys.argv[1] == "0" else {"a": [2]}))
"""


def test_two_processes_gather_the_shares_of_both():
  expected = str([[[1], "\u00e9" * 9, 1 / 3], {"a": [2]}])
  assert run_two(_GATHER) == [expected, expected]


def test_one_process_has_the_only_share():
  assert parallel.gather({"a": 1}) == [{"a": 1}]
