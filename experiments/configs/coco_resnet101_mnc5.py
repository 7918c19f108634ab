"""The shipped config `coco_resnet101_mnc5`, as a file."""

from mnc_jax.configs.coco_resnet101_mnc5 import get_config as get_config
