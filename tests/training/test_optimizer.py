"""The optimiser by hand: groups of parameters, the schedule of the rate, clipping."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnc_jax.config import Config, ModelConfig, TrainConfig, release
from mnc_jax.training.optimizer import (
  describe_groups,
  learning_rate,
  make_optimizer,
  parameter_groups,
)
from mnc_jax.training.step import TrainState, update_state


def test_sgd_follows_the_paper_by_hand():
  # v = g + decay * w;  w - rate * v, and the second step adds momentum * v.
  config = TrainConfig(learning_rate=0.1, momentum=0.9, weight_decay=0.5, decay_steps=())
  optimizer = make_optimizer(Config(train=config))
  params = {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.full(1, 2.0)}
  gradient = jax.tree.map(jnp.ones_like, params)
  state = optimizer.init(params)
  updates, state = optimizer.update(gradient, state, params)
  np.testing.assert_allclose(updates["kernel"], [[-0.1 * (1 + 0.5 * 2)]], rtol=1e-6)
  # Biases are not decayed.
  np.testing.assert_allclose(updates["bias"], [-0.1], rtol=1e-6)
  updates, state = optimizer.update(gradient, state, params)
  np.testing.assert_allclose(updates["kernel"], [[-0.1 * (2 + 0.9 * 2)]], rtol=1e-6)


def test_biases_of_the_release_are_decayed_at_their_rate():
  # models/VGG16/mnc_5stage/train.prototxt: lr_mult 2, and no decay_mult, so 1. In Caffe's SGD
  # v = momentum * v + lr_mult * rate * (g + decay_mult * decay * w).
  options = dataclasses.replace(release().train, learning_rate=0.1, weight_decay=0.5)
  config = dataclasses.replace(release(), train=options)
  optimizer, params = make_optimizer(config), {"fc": {"bias": jnp.full(1, 2.0)}}
  updates, _ = optimizer.update({"fc": {"bias": jnp.ones(1)}}, optimizer.init(params), params)
  np.testing.assert_allclose(updates["fc"]["bias"], [-0.1 * 2 * (1 + 0.5 * 2)], rtol=1e-6)
  assert describe_groups(params, config).splitlines()[2].split()[-2:] == ["0.2", "0.5"]


def test_frozen_layers_are_not_decayed_either():
  config = Config(model=ModelConfig(frozen_blocks=2), train=TrainConfig(weight_decay=0.5))
  params = {"features": {name: {"kernel": jnp.ones((1, 1))}
                         for name in ("conv1_1", "conv2_2", "conv3_1")}}
  optimizer = make_optimizer(config)
  nothing = jax.tree.map(jnp.zeros_like, params)
  updates, _ = optimizer.update(nothing, optimizer.init(params), params)
  moved = {name: float(layer["kernel"][0, 0]) for name, layer in updates["features"].items()}
  assert moved["conv1_1"] == moved["conv2_2"] == 0
  assert moved["conv3_1"] < 0


def test_schedule_warms_up_and_steps_down():
  rate = learning_rate(TrainConfig(learning_rate=1.0, warmup_steps=10, decay_steps=(50, 80)))
  values = [float(rate(step)) for step in (0, 5, 10, 49, 50, 79, 80)]
  np.testing.assert_allclose(values, [1 / 11, 6 / 11, 1, 1, 0.1, 0.1, 0.01], rtol=1e-6)


def test_cosine_schedule_ends_at_zero():
  rate = learning_rate(
      TrainConfig(learning_rate=1.0, warmup_steps=10, num_steps=110, schedule="cosine"))
  np.testing.assert_allclose([float(rate(s)) for s in (10, 60, 110)], [1, 0.5, 0], atol=1e-6)


def test_clipping_bounds_the_gradient():
  config = TrainConfig(
      learning_rate=1.0, momentum=0.0, weight_decay=0.0, decay_steps=(), clip_norm=2.0)
  optimizer = make_optimizer(Config(train=config))
  params = {"kernel": jnp.zeros((2, 2))}
  updates, _ = optimizer.update({"kernel": jnp.full((2, 2), 50.0)}, optimizer.init(params), params)
  np.testing.assert_allclose(updates["kernel"], np.full((2, 2), -1.0), rtol=1e-6)


def test_clipping_divides_once_and_not_per_array():
  config = TrainConfig(optimizer="sgd", clip_norm=2.0, warmup_steps=0, decay_steps=())
  optimizer = make_optimizer(Config(train=config))

  def divisions(count):
    params = {f"layer{i}": jnp.zeros((2, 2)) for i in range(count)}
    return str(jax.make_jaxpr(optimizer.update)(params, optimizer.init(params), params)).count(
        " div ")

  assert divisions(5) == divisions(1)


# A layer of each kind: frozen, trained, normalisation.
PARAMS = {
    "features": {"pixel_mean": jnp.ones(3),
                 "conv2_2": {"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)},
                 "conv3_1": {"kernel": jnp.ones((3, 5)), "bias": jnp.ones(5)}},
    "box_stage": {"norm": {"scale": jnp.ones(5), "bias": jnp.ones(5)}}}


def test_the_mean_of_the_pixels_is_frozen_even_where_no_layer_is():
  groups = parameter_groups(PARAMS, Config(model=ModelConfig(frozen_blocks=0)))
  assert groups["features"]["pixel_mean"] == "frozen"
  assert groups["features"]["conv2_2"]["kernel"] == "weights"


def test_groups_by_hand():
  assert parameter_groups(PARAMS, Config(model=ModelConfig(frozen_blocks=2))) == {
      "features": {"pixel_mean": "frozen",
                   "conv2_2": {"kernel": "frozen", "bias": "frozen"},
                   "conv3_1": {"kernel": "weights", "bias": "biases"}},
      "box_stage": {"norm": {"scale": "scales", "bias": "biases"}}}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_biases_move_at_their_own_rate_and_frozen_layers_not_at_all(optimizer):
  config = Config(model=ModelConfig(frozen_blocks=2), train=TrainConfig(
      optimizer=optimizer, learning_rate=0.1, weight_decay=0.5, decay_steps=(), bias_rate=2.0))
  rule = make_optimizer(config)
  updates, _ = rule.update(jax.tree.map(jnp.ones_like, PARAMS), rule.init(PARAMS), PARAMS)
  expected = {"frozen": 0.0, "weights": -0.1 * (1 + 0.5), "biases": -0.2, "scales": -0.1}
  groups = parameter_groups(PARAMS, config)
  for group, update in zip(jax.tree.leaves(groups), jax.tree.leaves(updates), strict=True):
    np.testing.assert_allclose(update, np.full(update.shape, expected[group]), rtol=1e-5)


PYRAMID = {"features": {"conv5_1": {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)},
                        "lateral_5": {"kernel": jnp.ones((1, 1))}},
           "mask_stage": {"conv5_1": {"kernel": jnp.ones((1, 1))}}}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_backbone_moves_at_its_rate_and_neither_pyramid_nor_heads_do(optimizer):
  config = Config(model=ModelConfig(frozen_blocks=0), train=TrainConfig(
      optimizer=optimizer, learning_rate=0.1, weight_decay=0.5, decay_steps=(), bias_rate=2.0,
      backbone_rate=0.25))
  rule = make_optimizer(config)
  updates, _ = rule.update(jax.tree.map(jnp.ones_like, PYRAMID), rule.init(PYRAMID), PYRAMID)
  expected = {
      "features": {"conv5_1": {"kernel": -0.25 * 0.1 * (1 + 0.5), "bias": -0.25 * 0.2},
                   "lateral_5": {"kernel": -0.1 * (1 + 0.5)}},
      "mask_stage": {"conv5_1": {"kernel": -0.1 * (1 + 0.5)}}}
  jax.tree.map(lambda x, value: np.testing.assert_allclose(x.ravel(), value, rtol=1e-5),
               updates, expected)
  assert [line.split() for line in describe_groups(PYRAMID, config).splitlines()[1:]] == [
      ["weights", "2", "2", "0.1", "0.5"], ["weights", "1", "1", "0.025", "0.5"],
      ["biases", "0", "0", "0.2", "0"], ["biases", "1", "1", "0.05", "0"],
      ["scales", "0", "0", "0.1", "0"], ["frozen", "0", "0", "0", "0"]]


def trained(groups):
  return [name != "frozen" for name in jax.tree.leaves(groups)]


@pytest.mark.parametrize(("optimizer", "moments"), [("sgd", 1), ("adamw", 2)])
def test_frozen_parameters_have_no_state(optimizer, moments):
  config = Config(model=ModelConfig(frozen_blocks=2), train=TrainConfig(optimizer=optimizer))
  state = make_optimizer(config).init(PARAMS)
  shapes = [x.shape for x in jax.tree.leaves(PARAMS)]
  expected = [shape for shape, moves in zip(
      shapes, trained(parameter_groups(PARAMS, config)), strict=True) if moves]
  found = [x.shape for x in jax.tree.leaves(state) if x.ndim]
  assert sorted(found) == sorted(expected * moments)


def sgd_by_hand(p, gradients, rates, decay):
  velocity = np.zeros_like(p)
  for gradient, rate in zip(gradients, rates, strict=True):
    velocity = gradient + decay * p + 0.9 * velocity
    p = p - rate * velocity
  return p


def adamw_by_hand(p, gradients, rates, decay):
  mean, square = np.zeros_like(p), np.zeros_like(p)
  for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
    mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
    direction = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    p = p - rate * (direction + decay * p)
  return p


@pytest.mark.parametrize(("optimizer", "oracle"), [("sgd", sgd_by_hand), ("adamw", adamw_by_hand)])
def test_several_steps_of_all_groups_against_the_formulas(optimizer, oracle):
  rng = np.random.default_rng(0)
  config = Config(model=ModelConfig(frozen_blocks=2), train=TrainConfig(
      optimizer=optimizer, learning_rate=0.1, weight_decay=0.05, bias_rate=1.7, warmup_steps=2,
      decay_steps=(4,), clip_norm=1.5))
  groups = parameter_groups(PARAMS, config)
  gradients = [jax.tree.map(
      lambda x, group: rng.normal(size=x.shape).astype(np.float32) * (group != "frozen"),
      PARAMS, groups) for _ in range(6)]
  rule = make_optimizer(config)
  params, state = PARAMS, rule.init(PARAMS)
  for gradient in gradients:
    updates, state = rule.update(gradient, state, params)
    params = jax.tree.map(jnp.add, params, updates)
  # The norm is that of the gradients of all groups together.
  norms = [np.sqrt(sum(float((x**2).sum()) for x in jax.tree.leaves(gradient)))
           for gradient in gradients]
  assert min(norms) > 1.5
  clipped = [[x * (1.5 / norm) for x in jax.tree.leaves(gradient)]
             for gradient, norm in zip(gradients, norms, strict=True)]
  rates = np.array([0.1 / 3, 0.2 / 3, 0.1, 0.1, 0.01, 0.01])
  for leaf, (group, start, found) in enumerate(zip(
      *map(jax.tree.leaves, (groups, PARAMS, params)), strict=True)):
    if group == "frozen":
      np.testing.assert_array_equal(found, start)
      continue
    expected = oracle(np.asarray(start, np.float64), [one[leaf] for one in clipped],
                      rates * (1.7 if group == "biases" else 1),
                      0.05 if group == "weights" else 0)
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    assert np.abs(found - start).max() > 1e-2


def test_accumulated_steps_are_one_update_of_the_mean_gradient():
  """Gradients 3 and -1, then 5 and 3: their means 1 and 4, of which 4 is clipped to 2."""
  config = Config(train=TrainConfig(
      learning_rate=1.0, momentum=0.5, weight_decay=0.0, decay_steps=(2,), num_steps=4,
      clip_norm=2.0, accumulate_steps=2))
  optimizer, params = make_optimizer(config), {"kernel": jnp.full((1, 1), 2.0)}
  state, moved = optimizer.init(params), []
  for gradient in (3.0, -1.0, 5.0, 3.0):
    updates, state = optimizer.update({"kernel": jnp.full((1, 1), gradient)}, state, params)
    moved.append(float(updates["kernel"][0, 0]))
  # The rate falls by ten after step 2 of the run, which is the first update.
  np.testing.assert_allclose(moved, [0, -1, 0, -0.1 * (0.5 * 1 + 2)], rtol=1e-6)


def test_the_rate_follows_the_step_when_fewer_are_accumulated_than_before():
  """Eight steps in pairs, then four at a time: the drop stays after step 12 of the run."""
  options = TrainConfig(learning_rate=1.0, momentum=0.0, weight_decay=0.0, decay_steps=(12,),
                        num_steps=16, accumulate_steps=2)
  params = {"kernel": jnp.full((1, 1), 2.0)}
  state = TrainState(jnp.int32(0), params, make_optimizer(Config(train=options)).init(params))
  moved, rates = [], []
  for step in range(16):
    size = 2 if step < 8 else 4
    config = Config(train=dataclasses.replace(options, accumulate_steps=size))
    before = state.params["kernel"].item()
    state, metrics = update_state(
        state, {"kernel": jnp.ones((1, 1))}, {}, config=config, norm=jnp.float32(1))
    moved.append(before - state.params["kernel"].item())
    rates.append(metrics["learning_rate"].item())
  np.testing.assert_allclose(moved, [0, 1] * 4 + [0, 0, 0, 1] + [0, 0, 0, 0.1], rtol=1e-5)
  np.testing.assert_allclose(rates, [1] * 12 + [0.1] * 4, rtol=1e-6)


def test_the_norm_of_one_step_does_not_clip_the_mean_of_several():
  config = Config(train=TrainConfig(
      learning_rate=1.0, momentum=0.0, weight_decay=0.0, clip_norm=2.0, accumulate_steps=2))
  params = {"kernel": jnp.full((1, 1), 2.0)}
  state = make_optimizer(config).init(params)
  for gradient in (9.0, -8.0):
    updates, state = make_optimizer(config, norm=jnp.float32(abs(gradient))).update(
        {"kernel": jnp.full((1, 1), gradient)}, state, params)
  np.testing.assert_allclose(updates["kernel"], [[-0.5]], rtol=1e-6)


def test_groups_are_described():
  config = Config(model=ModelConfig(frozen_blocks=2), train=TrainConfig(
      learning_rate=0.01, weight_decay=5e-4, bias_rate=2.0))
  lines = describe_groups(PARAMS, config).splitlines()
  assert [line.split() for line in lines[1:]] == [
      ["weights", "1", "15", "0.01", "0.0005"], ["biases", "2", "10", "0.02", "0"],
      ["scales", "1", "5", "0.01", "0"], ["frozen", "3", "15", "0", "0"]]
  assert len({len(line) for line in lines}) == 1


def test_the_rate_of_a_step_is_that_of_its_update():
  config = TrainConfig(learning_rate=8.0, schedule="step", decay_steps=(6,), num_steps=12,
                       warmup_steps=7, accumulate_steps=4)
  rates = [float(learning_rate(config)(step)) for step in range(12)]
  assert rates == [1.0] * 4 + [5.0] * 4 + [pytest.approx(0.8)] * 4
