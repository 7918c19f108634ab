"""Weight files, one container format a file."""
