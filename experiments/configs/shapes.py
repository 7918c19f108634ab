"""The shipped config `shapes`, as a file."""

from mnc_jax.configs.shapes import get_config as get_config
