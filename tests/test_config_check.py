"""Values of a config that no run can have."""

import pytest

from mnc_jax import config
from mnc_jax.config_check import check_same_meaning, check_values
import tiny


@pytest.mark.parametrize(("section", "field", "value", "message"), [
    ("train", "num_steps", -5, r"train\.num_steps is -5: it must be 1 or more"),
    ("train", "num_steps", 0, r"train\.num_steps is 0: it must be 1 or more"),
    ("train", "learning_rate", -1.0, r"train\.learning_rate is -1\.0: it must be 0 or more"),
    ("train", "learning_rate", float("nan"), r"train\.learning_rate is nan"),
    ("train", "evaluate_every", -3, r"train\.evaluate_every is -3: it must be 0 or more"),
    ("data", "batch_size", 0, r"data\.batch_size is 0: it must be 1 or more"),
    ("model", "box_gradient_clip", -0.1, r"model\.box_gradient_clip is -0\.1"),
    ("model", "box_delta_stds", (0.1, 0.1, 0.0, 0.2), r"model\.box_delta_stds is .* above 0"),
    ("model", "dense_width", -4, r"model\.dense_width is -4: it must be 1 or more"),
    ("model", "anchor_scales", (), r"model\.anchor_scales is \(\): there must be one or more"),
    ("model", "anchor_ratios", (1.0, 0.0), r"model\.anchor_ratios is .* each above 0"),
    ("model", "roi_size", 0, r"model\.roi_size is 0: it must be 1 or more"),
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


@pytest.mark.parametrize(("trunk", "blocks"), [("vgg16", 5), ("resnet101", 4)])
def test_more_frozen_blocks_than_there_are_are_refused(trunk, blocks):
  frozen = lambda count: tiny.tiny_config(model={"trunk": trunk, "frozen_blocks": count})
  check_values(frozen(blocks))
  with pytest.raises(ValueError, match=f"frozen_blocks is {blocks + 1}, but the {trunk} trunk has"):
    check_values(frozen(blocks + 1))


def test_weights_made_with_another_meaning_are_refused_by_field_and_values():
  made, asked = (tiny.tiny_config(model={"box_delta_stds": stds}).model
                 for stds in ((1.0,) * 4, (0.1, 0.1, 0.2, 0.2)))
  check_same_meaning(made, made, "file")
  with pytest.raises(ValueError, match=(
      r"file was made with model.box_delta_stds \(1.0, .*, but here it is \(0.1, ")):
    check_same_meaning(made, asked, "file")
