"""The same as `mnc import-weights`."""

from mnc_jax.cli import run

run("import-weights")
