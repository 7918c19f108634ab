"""A ResNet with group normalisation learns from scratch, as the backbone and head of a cascade."""

import functools

import jax
import numpy as np

from helpers import tiny
from mnc_jax.model.backbones.pixels import PIXEL_PARAMETERS
from mnc_jax.model.parameters import init_params
from mnc_jax.training.step import init_state, step_key, train_step

STEPS = 40
# Boxes of 16 and 32 pixels on cells of 16.
CONFIG = tiny.tiny_config(
    model={"backbone": "resnet26", "resnet_width": 8, "backbone_norm": "group", "frozen_blocks": 0,
           "anchor_scales": (1.0, 2.0), "box_gradient_clip": 2.0**-11},
    # Stages 4 and 5 have no weights of their own.
    train={"clip_norm": 3.0, "decay_steps": (), "num_stages": 3})


def test_a_cascade_on_resnet26_learns_two_images_from_scratch():
  first = jax.jit(lambda: init_state(init_params(jax.random.key(0), CONFIG), CONFIG))()
  step = jax.jit(functools.partial(train_step, config=CONFIG))
  state, batch, history = first, tiny.make_batch(), []
  for index in range(STEPS):
    state, metrics = step(state, batch, step_key(0, index, 0))
    history.append(metrics)
  # All categories equally likely and all masks at .5 cost 3.9.
  for name, first_value in history[0].items():
    if name.startswith("loss"):
      late = np.mean([metrics[name] for metrics in history[-5:]])
      assert late < (0.4 if name == "loss" else 0.85) * first_value, name
  moved = jax.tree.map(lambda a, b: bool((a != b).any()), first.params, state.params)
  # Mean and scale of the pixels alone stay.
  assert [moved["features"].pop(name) for name in PIXEL_PARAMETERS] == [False, False]
  assert all(jax.tree.leaves(moved))
