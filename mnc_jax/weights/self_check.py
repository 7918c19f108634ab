"""Compares what a model computes here with what it computed where it was saved.

A small image and some numbers of each stage are stored with the weights. Boxes are fixed, and NMS
and voting choose among candidates that are far from each other, so no compared number depends on
a choice between near equals.
"""

import base64
import functools
from typing import Any
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from mnc_jax.config import Config
from mnc_jax.model.backbones.features import make_backbone
from mnc_jax.model.forward import extract_stage_features, mask_and_classify, score_anchors
from mnc_jax.model.stages.bridge import refine_boxes
from mnc_jax.ops.voting import vote_masks

_HEIGHT, _WIDTH = 64, 96
# The whole image, an object in its middle, one that leaves it.
_BOXES = ((0.0, 0.0, 96.0, 64.0), (20.0, 10.0, 70.0, 55.0), (60.0, -8.0, 104.0, 30.0))
_NUMBERS = 24
_OLD_VOTING = "instances (voting)"  # Up to 0.2.0 one array, of 4 instances with 6 numbers.
# Devices round differently: float32 products in TF32, sums in another order. A wrong kernel, a
# wrong channel order or a wrong library is off by tenths.
_TOLERANCE = {"float32": 0.02, "bfloat16": 0.1, "float64": 0.02}


def record_numbers(params: dict, config: Config) -> dict[str, Any]:
  """Returns the input of `compare_numbers`, to be stored with the weights as JSON.

  Args:
    params: from `init_params`, or of a trained model.
    config: of the model.
  """
  image = _draw_image()
  return {"image": base64.b64encode(zlib.compress(image.tobytes(), 9)).decode("ascii"),
          "size": [_HEIGHT, _WIDTH], "boxes": [list(box) for box in _BOXES],
          "numbers": _run_stages(params, image, np.array(_BOXES, np.float32), config)}


def compare_numbers(params: dict, config: Config, recorded: dict[str, Any]) -> dict[str, float]:
  """Runs the stored image again and compares the outputs with the stored numbers.

  Args:
    params: of the same model.
    config: of the model.
    recorded: from `record_numbers`.

  Returns:
    {output of a stage, in order: largest deviation from the stored numbers, over the largest
    of these}; infinite where a number is not finite.

  Raises:
    ValueError: if the stored numbers cannot be read.
  """
  try:
    shape = (*recorded["size"], 3)
    pixels = zlib.decompress(base64.b64decode(recorded["image"]))
    image = np.frombuffer(pixels, np.uint8).reshape(shape)
    boxes, stored = np.array(recorded["boxes"], np.float32), recorded["numbers"]
    found = _run_stages(params, image, boxes, config)
    if _OLD_VOTING in stored:
      stored = stored | _split_voting(stored[_OLD_VOTING])
    return {name: _deviation(np.array(found[name]), np.array(stored[name])) for name in found}
  except (KeyError, TypeError, ValueError, zlib.error) as error:
    raise ValueError(f"the numbers stored for the self-check cannot be used: {error!r}; write them "
                     "again with mnc import-weights or mnc export") from error


def tolerance(config: Config) -> float:
  """Returns the largest deviation of a correct installation, by the dtype of `config`."""
  return _TOLERANCE[config.model.compute_dtype]


def _draw_image():
  rows, columns = np.mgrid[:_HEIGHT, :_WIDTH]
  # A bright disc on steps of colour that differ between channels; it compresses well.
  x, y = columns // 12 * 12, rows // 8 * 8
  image = np.stack([2 * x, 3 * y, 255 - x - y], axis=-1)
  image[np.hypot(rows - 32, columns - 45) < 20] = (230, 60, 20)
  return image.astype(np.uint8)


def _run_stages(params, image, boxes, config):
  """Returns {output: list of numbers}, stage by stage, each with only its own weights."""
  size = jnp.array(image.shape[:2], jnp.int32)
  multiple = make_backbone(config.model).multiple
  image = np.pad(image, [(0, -side % multiple) for side in image.shape[:2]] + [(0, 0)])
  # With static names, a later check of the same config in this process compiles nothing.
  compiled = functools.partial(jax.jit, static_argnames="config")
  backbones = {name: tree for name, tree in params.items() if "features" in name}
  features = compiled(extract_stage_features)(backbones, image[None], size[None], config=config)
  features = jax.tree.map(lambda x: x[0], features)
  anchors = compiled(score_anchors)(
      {"box_stage": params["box_stage"]}, features, size, config=config)
  heads = {name: params[name] for name in ("mask_stage", "category_stage")}
  output, refined = compiled(_run_heads)(heads, features, boxes, size, config=config)
  chosen = jax.jit(_vote)(output.mask_logits, boxes, size)
  return {"features": _sample(features.boxes),
          "objectness (stage 1)": _sample(anchors.objectness_logits),
          "box deltas (stage 1)": _sample(anchors.box_deltas),
          "masks (stage 2)": _sample(output.mask_logits),
          "categories (stage 3)": _sample(output.category_logits),
          "box deltas (stage 3)": _sample(output.box_deltas),
          "boxes (bridge)": _sample(refined.boxes),
          "masks (stage 4)": _sample(refined.mask_logits),
          "categories (stage 5)": _sample(refined.category_logits),
          **_sample_instances(chosen.boxes, chosen.scores, chosen.labels)}


def _sample_instances(boxes, scores, labels):
  """Returns the outputs of voting; boxes are up to 96, and would hide the others beside them."""
  return {"boxes (voting)": _sample(boxes), "scores (voting)": _sample(scores),
          "labels (voting)": _sample(labels)}


def _split_voting(numbers):
  """Returns the outputs of voting out of the rows (box, score, label) that 0.2.0 stored."""
  rows = np.reshape(numbers[:_NUMBERS], (-1, 6))
  return _sample_instances(rows[:, :4], rows[:, 4], rows[:, 5])


def _run_heads(params, features, boxes, size, *, config):
  """Returns the outputs of stages 2 and 3, and of 4 and 5."""
  valid = jnp.ones(len(boxes), bool)
  head = functools.partial(mask_and_classify, params, features, config=config, image_size=size)
  first = head(boxes, valid)
  refined = refine_boxes(first, size, config=config.model,
                         with_background=config.inference.release_bridge)
  return first, head(refined, valid, samples=config.inference.refined_roi_pool)


def _vote(mask_logits, boxes, size):
  """Returns instances of clear candidates: of two that overlap, and one apart."""
  scores = jnp.array([[0.0, 0.9, 0.1], [0.0, 0.2, 0.7], [0.0, 0.6, 0.3]])
  # Masks that fill their boxes: pixels of a predicted one may be close to a half.
  masks = jnp.ones_like(mask_logits)
  return vote_masks(masks, boxes, scores, nms_iou=0.3, similar_iou=0.5, max_instances=4,
                    height=size[0], width=size[1])


def _sample(values):
  """Returns evenly spread numbers of an array, and its mean and spread."""
  values = np.asarray(values, np.float64).reshape(-1)
  positions = np.linspace(0, values.size - 1, min(_NUMBERS, values.size)).astype(int)
  return [float(f"{x:.6g}") for x in (*values[positions], values.mean(), values.std())]


def _deviation(found, stored):
  if not np.isfinite(found).all():
    return float("inf")
  largest = np.abs(stored).max()
  return float(np.abs(found - stored).max() / (largest if largest > 0 else 1.0))
