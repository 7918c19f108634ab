"""What train.py refuses to start from random weights."""

import pytest

from mnc_jax.config import ModelConfig
from mnc_jax.training import initial_state


@pytest.mark.parametrize(("fields", "message"), [
    ({}, "2 blocks of the vgg16 backbone are frozen.*init-weights.*frozen-blocks 0"),
    ({"backbone": "resnet50"}, "normalisation of the resnet50 .* frozen.*backbone-norm group"),
    ({"backbone": "resnet50", "backbone_norm": "group"}, "2 blocks of the resnet50 backbone"),
    ({"backbone": "resnet101", "frozen_blocks": 0}, "batch normalisation of the resnet101"),
])
def test_what_never_moves_needs_weights(fields, message):
  with pytest.raises(ValueError, match=message):
    initial_state.check_fresh_start(ModelConfig(**fields))


@pytest.mark.parametrize("fields", [
    {"backbone": "small"}, {"frozen_blocks": 0},
    {"backbone": "resnet26", "backbone_norm": "group", "frozen_blocks": 0}])
def test_what_learns_may_start_anywhere(fields):
  initial_state.check_fresh_start(ModelConfig(**fields))
