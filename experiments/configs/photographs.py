"""The shipped config `photographs`, as a file."""

from mnc_jax.configs.photographs import get_config as get_config
