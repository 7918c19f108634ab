"""The shipped config `voc_vgg16_mnc5`, as a file."""

from mnc_jax.configs.voc_vgg16_mnc5 import get_config as get_config
