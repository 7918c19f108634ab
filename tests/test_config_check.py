"""Values of a config that no run can have."""

import pytest

from mnc_jax import config
from mnc_jax.config_check import check_values
import tiny


@pytest.mark.parametrize(("section", "field", "value", "message"), [
    ("train", "num_steps", -5, r"train\.num_steps is -5: it must be 1 or more"),
    ("train", "num_steps", 0, r"train\.num_steps is 0: it must be 1 or more"),
    ("train", "learning_rate", -1.0, r"train\.learning_rate is -1\.0: it must be 0 or more"),
    ("train", "learning_rate", float("nan"), r"train\.learning_rate is nan"),
    ("train", "evaluate_every", -3, r"train\.evaluate_every is -3: it must be 0 or more"),
    ("data", "batch_size", 0, r"data\.batch_size is 0: it must be 1 or more"),
    ("model", "box_gradient_clip", -0.1, r"model\.box_gradient_clip is -0\.1"),
    ("inference", "min_score", -0.1, r"inference\.min_score is -0\.1: it must be 0 or more"),
    ("inference", "soft_nms_sigma", 0.0, r"inference\.soft_nms_sigma is 0\.0: .* above 0"),
    ("inference", "soft_nms_sigma", float("nan"), r"inference\.soft_nms_sigma is nan"),
    ("inference", "scales", (), r"inference\.scales is \(\): it must have one factor or more"),
    ("inference", "scales", (1.0, 0.0), r"inference\.scales is \(1\.0, 0\.0\): .* above 0"),
    ("inference", "scales", (float("inf"),), r"inference\.scales is \(inf,\)"),
])
def test_impossible_values_are_named(section, field, value, message):
  with pytest.raises(ValueError, match=message):
    check_values(tiny.tiny_config(**{section: {field: value}}))


def test_all_presets_have_possible_values():
  for preset in (config.Config(), config.paper(), config.release(), tiny.tiny_config()):
    check_values(preset)
