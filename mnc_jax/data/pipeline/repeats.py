"""How often images with rare categories are repeated."""

import collections

import numpy as np

from mnc_jax.data.records import Source


def repeat_factors(source: Source, threshold: float) -> np.ndarray:
  """Returns how often each image comes in a pass over all (Gupta et al. 2019, "LVIS").

  A category in a share f of the images has the factor max(1, sqrt(threshold / f)), an image that of
  its rarest category. Crowd regions, which are no objects to train on, do not count.

  Args:
    source: whose annotations are read once.
    threshold: share of the images from which on a category is not rare.

  Returns:
    [N] float64, 1 or more; 1 for an image without an instance.
  """
  categories = [{annotation["category_id"] for annotation in source.read_annotations(row)
                 if not annotation["iscrowd"]} for row in range(len(source))]
  counts = collections.Counter(category for found in categories for category in found)
  factors = {category: max(1.0, np.sqrt(threshold * len(source) / count))
             for category, count in counts.items()}
  return np.array([max((factors[category] for category in found), default=1.0)
                   for found in categories])
