"""Layers of other libraries' models matched to ours, a file an architecture."""
