"""What a config file may hold, and how a mistake in it is named."""

import json

import pytest

from helpers import tiny
from mnc_jax.config import Config
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
    ([], "object of sections, found \\[\\]"),
    ({"modell": {}}, "unknown config section 'modell'"),
    ({"model": 3}, "config section 'model' is an object of fields, found 3"),
    ({"model": {"roi_sise": 14}}, "unknown config field model.roi_sise"),
    ({"model": {"roi_size": "14"}}, "model.roi_size must be int, found '14'"),
    ({"model": {"roi_size": 14.0}}, "model.roi_size must be int, found 14.0"),
    ({"model": {"roi_size": True}}, "model.roi_size must be int, found True"),
    ({"model": {"normalize": 1}}, "model.normalize must be bool, found 1"),
    ({"train": {"learning_rate": "1e-3"}}, "train.learning_rate must be float, found '1e-3'"),
    ({"model": {"trunk": "vgg19"}}, "model.trunk must be .*'vgg16', .*'small'.*found 'vgg19'"),
    ({"train": {"num_stages": 4}}, "train.num_stages must be .*3, 5.*found 4"),
    ({"model": {"box_delta_stds": [1, 1, 1]}}, "model.box_delta_stds must be tuple"),
    ({"data": {"buckets": [600, 1000]}}, "data.buckets must be tuple.*found \\(600, 1000\\)"),
    ({"train": {"momentum": float("nan")}}, "train.momentum must be float, found nan"),
    ({"train": {"clip_norm": float("inf")}}, "train.clip_norm must be float, found inf"),
    ({"train": {"momentum": 10**400}}, "train.momentum must be float, found 1000"),
    ({"train": {"num_steps": 2**63}}, "train.num_steps must be int, found 9223"),
    ({"data": {"image_ids": 3}}, "data.image_ids must be tuple.*found 3"),
])
def test_a_wrong_entry_is_named_with_what_it_must_be(content, message):
  with pytest.raises(ValueError, match=message):
    from_json(json.dumps(content))


def test_deep_nesting_is_refused():
  with pytest.raises(ValueError, match="nested too deep"):
    from_json("[" * 200_000)
