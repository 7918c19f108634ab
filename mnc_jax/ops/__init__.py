"""Geometry on arrays of one image: knows no network, no weights, no config."""
