"""Configurations by name; each file has a `get_config()`."""
