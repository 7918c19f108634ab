"""Models that mnc train does not start from random weights."""

import pytest

from mnc_jax.config import ModelConfig
from mnc_jax.training import initial_state


@pytest.mark.parametrize(("fields", "message"), [
    ({}, "2 blocks of the vgg16 backbone are frozen.*init-weights.*frozen-blocks 0"),
    ({"backbone": "resnet50"}, "normalisation of the resnet50 .* frozen.*backbone-norm group"),
    ({"backbone": "resnet50", "backbone_norm": "group"}, "2 blocks of the resnet50 backbone"),
    ({"backbone": "resnet101", "frozen_blocks": 0}, "batch normalisation of the resnet101"),
])
def test_frozen_parts_need_weights(fields, message):
  with pytest.raises(ValueError, match=message):
    initial_state.check_fresh_start(ModelConfig(**fields))


@pytest.mark.parametrize("fields", [
    {"backbone": "small"}, {"frozen_blocks": 0},
    {"backbone": "resnet26", "backbone_norm": "group", "frozen_blocks": 0}])
def test_trained_parts_may_start_from_random_weights(fields):
  initial_state.check_fresh_start(ModelConfig(**fields))
