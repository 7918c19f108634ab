"""Backbones: shared convolutional features."""
