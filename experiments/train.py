"""The same as `mnc train`."""

from mnc_jax.cli import run

run("train")
