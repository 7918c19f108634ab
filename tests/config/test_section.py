"""A config cannot be made with a value of another type, which would train something else."""

import re

import jax
import numpy as np
import pytest

from mnc_jax.config import Config, DataConfig, ModelConfig, ProposalConfig, TrainConfig


@pytest.mark.parametrize(("section", "fields", "message"), [
    (TrainConfig, {"optimizer": "adam"},
     "TrainConfig.optimizer must be 'sgd' or 'adamw', found 'adam'"),
    (TrainConfig, {"schedule": "cos"}, "TrainConfig.schedule must be 'step' or 'cosine', found"),
    (TrainConfig, {"num_stages": 4}, "TrainConfig.num_stages must be 3 or 5, found 4"),
    (TrainConfig, {"decay_steps": 5}, "TrainConfig.decay_steps must be tuple[int, ...], found 5"),
    (TrainConfig, {"learning_rate": "1"}, "TrainConfig.learning_rate must be float, found '1'"),
    (TrainConfig, {"num_steps": 1e4}, "TrainConfig.num_steps must be int, found 10000.0"),
    (TrainConfig, {"decay_biases": 1}, "TrainConfig.decay_biases must be bool, found 1"),
    (ModelConfig, {"mask_head": "fcn"}, "ModelConfig.mask_head must be 'dense' or 'conv', found"),
    (ModelConfig, {"roi_chunk": True}, "ModelConfig.roi_chunk must be int, found True"),
    (ModelConfig, {"backbone": None}, "'small' or str, found None"),
    (DataConfig, {"buckets": [(128, 128)]},
     "DataConfig.buckets must be tuple[tuple[int, int], ...], found [(128, 128)]"),
    (DataConfig, {"buckets": (128, 128)}, "DataConfig.buckets must be tuple"),
    (DataConfig, {"crop_size": (64, 64, 3)}, "DataConfig.crop_size must be tuple[int, int], found"),
    (ProposalConfig, {"pre_nms": np.int64(5)}, "ProposalConfig.pre_nms must be int, found"),
    (Config, {"train": ModelConfig()}, "Config.train must be TrainConfig, found ModelConfig("),
])
def test_a_value_of_another_type_is_named(section, fields, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    section(**fields)


def test_whole_numbers_and_numpy_floats_are_floats():
  config = TrainConfig(learning_rate=1, momentum=np.float64(0.5))
  assert (config.learning_rate, config.momentum) == (1, 0.5)


def test_a_weight_may_be_an_argument_of_a_traced_function():
  double = jax.jit(lambda weight: 2 * TrainConfig(weight_mask=weight).weight_mask)
  assert double(0.75) == 1.5
