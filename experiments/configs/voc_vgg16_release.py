"""The shipped config `voc_vgg16_release`, as a file."""

from mnc_jax.configs.voc_vgg16_release import get_config as get_config
