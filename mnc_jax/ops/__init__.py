"""Geometry on the arrays of one image, independent of network, weights and config."""

from mnc_jax.ops import anchors as anchors
from mnc_jax.ops import bilinear as bilinear
from mnc_jax.ops import boxes as boxes
from mnc_jax.ops import masks as masks
from mnc_jax.ops import nms as nms
from mnc_jax.ops import padding as padding
from mnc_jax.ops import roi_warp as roi_warp
from mnc_jax.ops import sampling as sampling
from mnc_jax.ops import voting as voting
