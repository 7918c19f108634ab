"""Ground truth of one image by hand."""

import jax.numpy as jnp
import numpy as np

from mnc_jax.structs import GroundTruth

SIZE = jnp.array([100, 100])


def ground_truth(boxes, labels, *, crowd=None, masks=None, padding=1):
  """The `GroundTruth` of one image, with `padding` empty rows."""
  count = len(boxes)
  def pad(x, dtype):
    x = np.asarray(x, dtype).reshape(count, *np.shape(x)[1:])
    return jnp.asarray(np.concatenate([x, np.zeros((padding, *x.shape[1:]), dtype)]))
  boxes = np.asarray(boxes, np.float32).reshape(count, 4)
  return GroundTruth(
      boxes=pad(boxes, np.float32),
      labels=pad(labels, np.int32),
      masks=pad(np.ones((count, 112, 112)) if masks is None else masks, np.uint8),
      areas=pad((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), np.float32),
      crowd=pad(np.zeros(count) if crowd is None else crowd, bool),
      valid=pad(np.ones(count), bool))
