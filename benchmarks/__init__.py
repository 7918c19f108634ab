"""Benchmarks: `python -m benchmarks`. Nothing imports them."""
