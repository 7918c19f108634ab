"""Masks in COCO's formats: bad ones are rejected, and pycocotools reads good ones the same."""

import numpy as np
from pycocotools import mask as mask_api
import pytest

from mnc_jax.coco.segmentation import read_segmentation


@pytest.mark.parametrize(("segmentation", "message"), [
    (None, "segmentation None is neither a list of polygons nor RLE"),
    ([[1, 2, 3, 4, 5]], "x, y pairs"),
    ([["a", 2, 3, 4, 5, 6]], "not a list of numbers"),
    ([[1, 2, 3, 4, 5, float("inf")]], "not finite"),
    ({"size": [4, 4], "counts": [3, 5]}, "counts for 8 pixels, its image 16"),
    ({"size": [4, 4], "counts": [20, -4]}, "counts for 16 pixels"),
    ({"size": [4, 4], "counts": "zzzz"}, "'z' in its counts"),
    ({"size": [4, 4], "counts": "Q"}, "truncated"),
    ({"size": [4, 4], "counts": "oooooooooooooo0"}, "more than 32 bits"),
    ({"size": [4, 4], "counts": ""}, "counts for 0 pixels"),
    ({"size": [4, 4], "counts": [2 ** 70]}, "counts for 1180591620717411303424 pixels"),
    ({"size": 4, "counts": [16]}, "size 4 "),
    ({"size": [4, 4]}, "neither text nor"),
])
def test_bad_segmentations(segmentation, message):
  with pytest.raises(ValueError, match=message):
    read_segmentation(segmentation, 4, 4)


def test_compressed_counts_equal_pycocotools():
  rng = np.random.default_rng(0)
  for _ in range(30):
    height, width = rng.integers(1, 90, 2)
    mask = (rng.random((height, width)) < rng.random()).astype(np.uint8)
    rle = mask_api.encode(np.asfortranarray(mask))
    text = {"size": [int(height), int(width)], "counts": rle["counts"].decode()}
    assert read_segmentation(text, int(height), int(width)) == text
    assert read_segmentation(rle, int(height), int(width)) == text  # Counts as bytes.
