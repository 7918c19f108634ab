"""Losses by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
import mnc_jax
from mnc_jax.model import losses
from mnc_jax.model.anchor_targets import AnchorTargets
from mnc_jax.model.roi_targets import RoiTargets
from mnc_jax.structs import AnchorOutput, StageOutput


def test_masked_mean_ignores_what_the_mask_hides():
  x = jnp.array([1.0, 3.0, 100.0])
  assert losses.masked_mean(x, jnp.array([True, True, False])) == 2.0


def test_masked_mean_of_weights_is_their_mean():
  x = jnp.array([1.0, 3.0])
  assert losses.masked_mean(x, jnp.array([0.25, 0.25])) == 2.0


def test_masked_mean_of_whole_numbers_takes_fractions_of_them():
  assert losses.masked_mean(jnp.array([1, 3]), jnp.array([0.25, 0.75])) == 2.5


def test_masked_mean_of_nothing_is_zero_with_zero_gradient():
  value, gradient = jax.value_and_grad(losses.masked_mean)(jnp.ones(3), jnp.zeros(3, bool))
  assert value == 0
  np.testing.assert_array_equal(gradient, np.zeros(3))


def test_smooth_l1_is_quadratic_inside_and_linear_outside():
  # sigma 3: the knee is at 1/9, where both pieces give 1/18.
  x = jnp.array([0.0, 0.1, 1 / 9, 1.0, -1.0])
  expected = [0.0, 0.5 * 9 * 0.01, 1 / 18, 1 - 1 / 18, 1 - 1 / 18]
  np.testing.assert_allclose(losses.smooth_l1(x, sigma=3.0), expected, rtol=1e-5)


def test_smooth_l1_has_a_continuous_slope_at_the_knee():
  slope = jax.vmap(jax.grad(losses.smooth_l1))(jnp.array([0.999, 1.001, -0.999, -1.001]))
  np.testing.assert_allclose(slope, [0.999, 1, -0.999, -1], rtol=1e-5)


def anchors(logits, deltas):
  count = len(logits)
  return AnchorOutput(jnp.zeros((count, 4)), jnp.array(logits), jnp.array(deltas),
                      jnp.ones(count, bool))


def test_box_stage_loss_by_hand():
  # Two sampled anchors, one positive a whole unit off in dx, and one that is not sampled.
  output = anchors([[0.0, 0.0], [0.0, 0.0], [9.0, -9.0]],
                   [[1.0, 0, 0, 0], [5.0, 5, 5, 5], [7.0, 7, 7, 7]])
  targets = AnchorTargets(sampled=jnp.array([True, True, False]),
                       positive=jnp.array([True, False, False]), box_deltas=jnp.zeros((3, 4)))
  expected = np.log(2) + (1 - 1 / 18) / 2
  np.testing.assert_allclose(losses.box_stage_loss(output, targets), expected, rtol=1e-6)


def targets_of(labels, masks):
  labels = jnp.array(labels)
  return RoiTargets(valid=jnp.array([True, True, False]), foreground=labels > 0, labels=labels,
                    masks=masks, areas=jnp.ones(3), box_deltas=jnp.zeros((3, 4)))


def test_mask_stage_loss_counts_foreground_pixels_only():
  logits = jnp.array([np.log(3.0), 50.0, -50.0])[:, None, None] * jnp.ones((3, 2, 2))
  # RoI 0 is foreground at probability .75 with one of four pixels on; 1 is background; 2 padding.
  masks = jnp.zeros((3, 2, 2)).at[0, 0, 0].set(1)
  expected = (-np.log(0.75) - 3 * np.log(0.25)) / 4
  np.testing.assert_allclose(
      losses.mask_stage_loss(logits, targets_of([1, 0, 2], masks)), expected, rtol=1e-5)


def test_mask_stage_loss_without_foreground_is_zero():
  loss = losses.mask_stage_loss(jnp.ones((3, 2, 2)), targets_of([0, 0, 0], jnp.zeros((3, 2, 2))))
  assert loss == 0


def test_category_stage_loss_by_hand():
  # Uniform logits over 3 categories; RoI 0 is category 2 with its own deltas 2 off in dw.
  deltas = jnp.zeros((3, 3, 4)).at[0, 2, 2].set(2.0).at[0, 1].set(99.0).at[1].set(99.0)
  output = StageOutput(jnp.zeros((3, 4)), jnp.ones(3, bool), jnp.zeros((3, 2, 2)),
                       jnp.zeros((3, 3)), jnp.zeros((3, 3)), deltas)
  loss = losses.category_stage_loss(output, targets_of([2, 0, 1], jnp.zeros((3, 2, 2))),
                                    jnp.array([2, 0, 0]))
  # Two cross entropies of log 3; smooth L1 of 2 is 1.5, over the two valid RoIs.
  np.testing.assert_allclose(loss, 2 * np.log(3) + 1.5 / 2, rtol=1e-6)


def test_the_gradients_of_losses_scatter_nothing():
  targets = targets_of([1, 0, 0], jnp.zeros((3, 2, 2)))
  loss = lambda logits, deltas: losses.category_stage_loss(
      StageOutput(jnp.zeros((3, 4)), targets.valid, jnp.zeros((3, 2, 2)), logits, logits, deltas),
      targets, targets.labels)
  program = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(jnp.zeros((3, 4)), jnp.zeros((3, 4, 4)))
  assert "scatter" not in str(program)


def run(config):
  """Returns the losses of one image, anew each time."""
  find_loss = jax.jit(mnc_jax.cascade_loss, static_argnames="config")
  return find_loss(tiny.random_params(config), tiny.make_batch(1), jax.random.key(0),
                   config=config)[1]


@functools.cache
def usual_losses():
  return run(tiny.tiny_config())


def constant(value):
  """A loss whose value is known, with a gradient."""
  return lambda output, *targets: value + 0 * sum(x.sum() for x in jax.tree.leaves(output)[-1:])


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize(("stage", "terms", "weight"), [
    ("box", ("loss_1",), {"weight_box": 3.0}), ("mask", ("loss_2", "loss_4"), {"weight_mask": 3.0}),
    ("category", ("loss_3", "loss_5"), {"weight_category": 3.0})])
def test_a_registered_loss_takes_the_place_of_its_stages_alone(stage, terms, weight):
  mnc_jax.register_loss(stage, "mine", constant(7.0))
  changed = tiny.tiny_config(train={f"{stage}_loss": "mine"} | weight)
  usual, found = usual_losses(), run(changed)
  assert {name for name in usual if name.startswith("loss_")} == {f"loss_{i}" for i in range(1, 6)}
  for name in usual:
    if name in terms:
      assert float(found[name]) == 21.0, name
    elif name != "loss":
      assert float(found[name]) == float(usual[name]), name


@pytest.mark.usefixtures("own_registry")
def test_a_new_loss_of_the_same_name_is_not_answered_from_the_old_program():
  config = tiny.tiny_config(train={"mask_loss": "mine"})
  find = jax.jit(lambda logits: losses.find_loss("mask", config.train)(logits, None))
  for value in (7.0, 1.0):
    mnc_jax.register_loss("mask", "mine", constant(value))
    assert find(jnp.ones(3)) == value


@pytest.mark.usefixtures("own_registry")
def test_a_loss_that_is_not_registered_is_named():
  with pytest.raises(ValueError, match=r"train\.mask_loss is 'dice', which is not known here: "
                     r"known are paper\. .*mnc_jax\.register_loss\('mask', 'dice', \.\.\.\)"):
    losses.find_loss("mask", tiny.tiny_config(train={"mask_loss": "dice"}).train)
  with pytest.raises(ValueError, match="there is no stage 'boxes': box, mask, category"):
    mnc_jax.register_loss("boxes", "mine", constant(1.0))
  with pytest.raises(ValueError, match="'paper' is part of mnc_jax"):
    mnc_jax.register_loss("mask", "paper", constant(1.0))
