"""Scores of instances against ground truth, on the host, from COCO-format records."""
