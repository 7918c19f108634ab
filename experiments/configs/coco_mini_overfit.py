"""The shipped config `coco_mini_overfit`, as a file."""

from mnc_jax.configs.coco_mini_overfit import get_config as get_config
