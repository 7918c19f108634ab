"""What mnc predict writes: a file a format. `formats.py` opens them by name."""
