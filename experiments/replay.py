"""The same as `mnc replay`."""

from mnc_jax.cli import run

run("replay")
