"""The same as `mnc evaluate`."""

from mnc_jax.cli import run

run("evaluate")
