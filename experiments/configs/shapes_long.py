"""The shipped config `shapes_long`, as a file."""

from mnc_jax.configs.shapes_long import get_config as get_config
