"""Ground truth of one image by hand."""

import jax
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


def pad_rows(tree, count):
  """Returns a tree of arrays with zeros added up to `count` rows.

  Equal shapes let tests share a compiled program.
  """
  def pad(x):
    x = np.asarray(x)
    assert len(x) <= count
    return np.concatenate([x, np.zeros((count - len(x), *x.shape[1:]), x.dtype)])
  return jax.tree.map(pad, tree)
