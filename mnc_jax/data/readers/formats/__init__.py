"""Annotations of other formats, converted to the content of COCO files before they are checked."""
