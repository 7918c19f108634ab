"""Predictions of a split, their scores, drawings and report."""
