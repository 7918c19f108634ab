"""The same as `mnc prepare`."""

from mnc_jax.cli import run

run("prepare")
