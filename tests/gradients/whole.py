"""A cascade and one image on which L1 ... L5 are differentiated as wholes."""

import functools

import jax
import numpy as np

from gradients.differences import to_float64
from helpers import tiny
from mnc_jax.model.parameters import init_params

GROUPS = {"all parameters": (), "backbone": ("features",),
          "box deltas": ("box_stage", "box_deltas"),
          "mask stage": ("mask_stage",), "category stage": ("category_stage",)}
"""Parts of the parameters that move in one direction. The box deltas of stage 1 reach L2 ... L5
through the coordinates alone."""


def config(**model):
  """Returns a five-stage cascade in float64, in which proposals, too, are foreground."""
  return tiny.tiny_config(
      model={"compute_dtype": "float64", "backbone_widths": (4, 8, 8), "box_stage_width": 8,
             "mask_hidden": 8, "dense_width": 8, "mask_size": 6, "roi_size": 4, **model},
      train={"proposals": {"num_proposals": 24, "pre_nms": 60}, "rois_per_image": 10,
             "anchors_per_image": 16, "roi_positive_iou": 0.3, "roi_positive_fraction": 0.8})


@functools.cache
def params():
  """Returns parameters in float64, around their initialisation."""
  rng = np.random.default_rng(0)
  fresh = jax.jit(lambda: init_params(jax.random.key(0), config(compute_dtype="float32")))()
  with jax.enable_x64(True):
    return to_float64(jax.tree.map(
        lambda x: np.asarray(x, np.float64) + 0.2 * rng.normal(size=x.shape), fresh))


def direction(rng, path):
  """Returns a random direction of the parameters below `path`, zero elsewhere."""
  def draw(path_of_x, x):
    names = tuple(part.key for part in path_of_x)
    return rng.normal(size=x.shape) * (names[:len(path)] == path)
  return jax.tree_util.tree_map_with_path(draw, params())
