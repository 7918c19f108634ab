"""The shipped config `nuclei_small`, as a file."""

from mnc_jax.configs.nuclei_small import get_config as get_config
