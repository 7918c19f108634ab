"""The shipped config `nuclei`, as a file."""

from mnc_jax.configs.nuclei import get_config as get_config
