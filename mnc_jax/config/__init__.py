"""Every number of the cascade, with its unit and its source, as frozen dataclasses.

A `Config` is hashable, so that it can be a static argument of `jax.jit`. All
lengths are pixels of the network input unless a comment says otherwise.
"""

from mnc_jax.config.data import DataConfig
from mnc_jax.config.experiment import Config, with_categories
from mnc_jax.config.inference import InferenceConfig
from mnc_jax.config.model import ModelConfig
from mnc_jax.config.presets import paper, release
from mnc_jax.config.proposal import ProposalConfig
from mnc_jax.config.train import TrainConfig

__all__ = (
    "Config",
    "DataConfig",
    "InferenceConfig",
    "ModelConfig",
    "ProposalConfig",
    "TrainConfig",
    "paper",
    "release",
    "with_categories",
)
