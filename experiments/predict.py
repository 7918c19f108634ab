"""The same as `mnc predict`."""

from mnc_jax.cli import run

run("predict")
