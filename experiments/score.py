"""The same as `mnc score`."""

from mnc_jax.cli import run

run("score")
