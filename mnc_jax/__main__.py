"""`python -m mnc_jax COMMAND ...`, the same as `mnc COMMAND ...`."""

from mnc_jax.cli import main

if __name__ == "__main__":
  main()
