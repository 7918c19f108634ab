"""The same as `mnc export`."""

from mnc_jax.cli import run

run("export")
