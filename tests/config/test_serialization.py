"""What a config file may hold, and how a mistake in it is named."""

import json

import pytest

from helpers import tiny
from mnc_jax.config import Config, InferenceConfig, ProposalConfig
from mnc_jax.config.serialization import from_json, to_json


def test_every_value_comes_back_equal_and_hashable():
  config = tiny.tiny_config(data={"buckets": ((64, 96), (96, 64)), "image_ids": (3, 5)})
  back = from_json(to_json(config))
  assert back == config
  assert hash(back) == hash(config)


def test_what_is_absent_keeps_its_default_and_whole_numbers_may_be_floats():
  config = from_json('{"train": {"learning_rate": 1}}')
  assert config.train.learning_rate == 1
  assert config.model == Config().model


@pytest.mark.parametrize(("content", "message"), [
    ([], "a config is a JSON object, found \\[\\]"),
    ({"modell": {}}, "unknown config field 'modell'"),
    ({"train": {"proposals": 3, "pre_nms": 5}},
     "config section 'train.proposals' is a JSON object, found 3"),
    ({"model": {"trunk": "small", "backbone": "vgg16"}},
     "'model.trunk' is an older name of 'model.backbone': keep one"),
    ({"model": 3}, "config section 'model' is a JSON object, found 3"),
    ({"model": {"roi_sise": 14}}, "unknown config field 'model.roi_sise'"),
    ({"model": {"roi_size": "14"}}, "model.roi_size must be int, found '14'"),
    ({"model": {"roi_size": 14.0}}, "model.roi_size must be int, found 14.0"),
    ({"model": {"roi_size": True}}, "model.roi_size must be int, found True"),
    ({"model": {"normalize": 1}}, "model.normalize must be bool, found 1"),
    ({"train": {"learning_rate": "1e-3"}}, "train.learning_rate must be float, found '1e-3'"),
    ({"model": {"backbone": "vgg19"}}, "model.backbone is 'vgg19', .* known are vgg16, .* small"),
    ({"train": {"num_stages": 4}}, "train.num_stages must be 3 or 5, found 4"),
    ({"model": {"box_delta_stds": [1, 1, 1]}}, "model.box_delta_stds must be tuple"),
    ({"data": {"buckets": [600, 1000]}}, "data.buckets must be tuple.*found \\[600, 1000\\]"),
    ({"train": {"momentum": float("nan")}}, "train.momentum must be float, found nan"),
    ({"train": {"clip_norm": float("inf")}}, "train.clip_norm must be float, found inf"),
    ({"train": {"momentum": 10**400}}, "train.momentum must be float, found 1000"),
    ({"train": {"num_steps": 2**63}}, "train.num_steps must be int, found 9223"),
    ({"data": {"image_ids": 3}}, "data.image_ids must be tuple.*found 3"),
])
def test_a_wrong_entry_is_named_with_what_it_must_be(content, message):
  with pytest.raises(ValueError, match=message):
    from_json(json.dumps(content))


def test_deep_nesting_is_rejected():
  with pytest.raises(ValueError, match="nested too deep"):
    from_json("[" * 200_000)


def test_fields_that_older_versions_did_not_have_mean_what_these_did():
  older = from_json('{"model": {"backbone": "small"}}').model
  assert (older.mask_resize, older.roi_border) == ("bilinear", "zero")
  assert from_json('{"model": {"mask_resize": "mean"}}').model.mask_resize == "mean"
  assert from_json("{}") == Config()


def test_fields_of_older_versions_are_read_under_todays_names():
  config = from_json(json.dumps({
      "model": {"trunk": "small", "trunk_widths": [4, 8]}, "inference": {"suppression": "soft"},
      "train": {"pre_nms": 7, "proposal_nms_iou": 0.6, "truth_in_stage_4": True}}))
  assert (config.model.backbone, config.model.backbone_widths) == ("small", (4, 8))
  assert config.train.proposals == ProposalConfig(pre_nms=7, nms_iou=0.6)
  assert config.train.gt_in_stage_4
  # What is absent keeps the default of its section.
  assert config.inference == InferenceConfig(nms="soft")
  assert config.inference.proposals.pre_nms == 6000


def test_a_wrong_value_of_a_nested_field_is_named():
  with pytest.raises(ValueError, match="train.proposals.pre_nms must be int, found 1.5"):
    from_json('{"train": {"proposals": {"pre_nms": 1.5}}}')
