"""How often images with rare categories are repeated."""

import numpy as np

from mnc_jax.data.records import Source


def repeat_factors(source: Source, threshold: float) -> np.ndarray:
  """Returns how often each image comes in a pass over all (Gupta et al. 2019, "LVIS").

  A category in a share f of the images has the factor max(1, sqrt(threshold / f)), an image that of
  its rarest category. Crowd regions, which are no objects to train on, do not count.

  Args:
    source: if it does not know its `objects`, all its annotations are read.
    threshold: share of the images from which on a category is not rare.

  Returns:
    [N] float64, 1 or more; 1 for an image without an instance.
  """
  images, category_ids = source.objects or _read_objects(source)
  # Each category counts once per image.
  pairs = np.unique(np.stack([images, category_ids], axis=1), axis=0)
  _, inverse, counts = np.unique(pairs[:, 1], return_inverse=True, return_counts=True)
  factors = np.ones(len(source))
  np.maximum.at(factors, pairs[:, 0], np.sqrt(threshold * len(source) / counts[inverse]))
  return factors


def _read_objects(source):
  objects = [(row, annotation["category_id"]) for row in range(len(source))
             for annotation in source.read_annotations(row) if not annotation["iscrowd"]]
  return np.array(objects, np.int64).reshape(-1, 2).T
