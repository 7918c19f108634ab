"""Single operations on random boxes, features and masks, as one image has them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import jax_seconds
from mnc_jax.ops.nms import nms
from mnc_jax.ops.roi_warp import roi_pool, roi_warp
from mnc_jax.ops.voting import vote_masks

STRIDE = 16
POOL = 2
PROPOSAL_IOU = 0.7
VOTING_IOU, SIMILAR_IOU = 0.3, 0.5


def random_boxes(rng, count, height, width, *, clusters=None):
  """Draws [count, 4] float32 boxes in an image; with `clusters`, so many crowds of them."""
  centers = rng.uniform((0, 0), (width, height), (clusters or count, 2))
  sides = np.exp(rng.uniform(np.log(32), np.log(min(height, width) / 2), (clusters or count, 2)))
  which = np.arange(count) % len(centers)
  # Candidates of one object lie within a tenth of its size.
  centers = centers[which] + rng.normal(0, 0.1, (count, 2)) * sides[which]
  sides = sides[which] * np.exp(rng.normal(0, 0.1, (count, 2)))
  boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
  return np.clip(boxes, 0, (width, height) * 2).astype(np.float32)


def measure(options, torch_side):
  """Times all operations.

  Args:
    options: of the command line.
    torch_side: the module `benchmark_torchvision`, or None.

  Returns:
    `(rows, notes)`; figures of the rows are milliseconds.
  """
  if len(options.nms) % 2:
    raise SystemExit("--nms takes pairs: boxes in, boxes out")
  rows = [*_nms_rows(options, torch_side), *_roi_rows(options, torch_side), _vote_row(options)]
  notes = [f"milliseconds, median of {options.repeats}; {options.rois} RoIs of "
           f"{options.samples} x {options.samples} on {' x '.join(map(str, options.features))} "
           f"{options.dtype} features; gradients are of features and boxes",
           "torchvision: nms, and roi_align with one sample a cell; its gradient is of the "
           "features alone"]
  return rows, notes


def _row(name, ours, theirs=None):
  return {"name": name, "mnc_jax": ours * 1e3, "torchvision": theirs and theirs * 1e3}


def _image_size(options):
  return options.features[0] * STRIDE, options.features[1] * STRIDE


def _nms_rows(options, torch_side):
  rng = np.random.default_rng(0)
  for count, kept in zip(options.nms[::2], options.nms[1::2], strict=True):
    boxes = random_boxes(rng, count, *_image_size(options))
    scores = rng.uniform(size=count).astype(np.float32)
    suppress = functools.partial(nms, iou_threshold=PROPOSAL_IOU, max_outputs=kept)
    theirs = torch_side and torch_side.nms_seconds(
        boxes, scores, PROPOSAL_IOU, kept, repeats=options.repeats)
    yield _row(f"nms {count} -> {kept}",
               jax_seconds(suppress, boxes, scores, repeats=options.repeats), theirs)


def _roi_rows(options, torch_side):
  rng = np.random.default_rng(1)
  features = rng.normal(size=options.features).astype(np.float32)
  boxes = random_boxes(rng, options.rois, *_image_size(options))
  placed = jnp.asarray(features, options.dtype)
  for name, pool in (("roi_warp", 1), ("roi_pool", POOL)):
    for gradient in (False, True):
      theirs = torch_side and torch_side.roi_seconds(
          features, boxes, options.samples, pool, stride=STRIDE, gradient=gradient,
          dtype=options.dtype, repeats=options.repeats)
      for method in ("gather", "matmul"):
        function = _roi_function(options, pool, method, gradient)
        seconds = jax_seconds(function, placed, boxes, repeats=options.repeats)
        title = f"{name}, {method}, {'with gradient' if gradient else 'forward'}"
        yield _row(title, seconds, theirs)


def _roi_function(options, pool, method, gradient):
  common = {"stride": STRIDE, "method": method}
  if pool == 1:
    forward = functools.partial(roi_warp, size=options.samples, **common)
  else:
    forward = functools.partial(
        roi_pool, size=options.samples // pool, pool=pool, chunk=options.chunk, **common)
  if not gradient:
    return forward
  squares = lambda features, boxes: jnp.sum(jnp.square(forward(features, boxes)))
  return jax.value_and_grad(squares, argnums=(0, 1))


def _vote_row(options):
  rng = np.random.default_rng(2)
  height, width = _image_size(options)
  # About a dozen objects, each found by many candidates and in several categories.
  boxes = random_boxes(rng, options.candidates, height, width, clusters=12)
  masks = rng.uniform(size=(options.candidates, options.mask_size, options.mask_size))
  scores = rng.dirichlet(np.full(options.categories, 0.1), options.candidates)
  vote = functools.partial(
      vote_masks, nms_iou=VOTING_IOU, similar_iou=SIMILAR_IOU, max_instances=options.instances,
      height=height, width=width)
  seconds = jax_seconds(vote, masks.astype(np.float32), boxes, scores.astype(np.float32),
                        repeats=options.repeats)
  return _row(f"vote_masks {options.candidates} -> {options.instances}", seconds)
