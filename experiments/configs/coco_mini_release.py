"""The shipped config `coco_mini_release`, as a file."""

from mnc_jax.configs.coco_mini_release import get_config as get_config
