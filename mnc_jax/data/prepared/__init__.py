"""Prepared data sets: TFDS records and their index."""
