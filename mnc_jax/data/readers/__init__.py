"""Readers of data set layouts, a file each."""
