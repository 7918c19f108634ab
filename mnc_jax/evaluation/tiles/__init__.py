"""Large images in overlapping tiles: planned, run, and merged."""
