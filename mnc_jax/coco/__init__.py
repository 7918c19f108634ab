"""COCO's formats: segmentations, and annotation files."""
