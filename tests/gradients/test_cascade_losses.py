"""L1 ... L5, each as a whole, against central differences of the library's cascade.

Held in the differences are the targets that depend on a RoI's coordinates (`held.TARGETS`: box
deltas from the RoI to its object, and its mask targets), taken at the base point. They are
constants in the gradient by design; differences in which they move measure another function. The
other choices (top-k, NMS, sampling, labels) are locally constant and not held: one that changed
within the step would show as a difference without a gradient.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradients import held, whole
from gradients.differences import STEPS, TOLERANCE, inner, relative_error, settle
from helpers import tiny
from mnc_jax.model import losses, roi_targets
from mnc_jax.model.cascade import cascade_loss
from mnc_jax.model.forward import extract_stage_features, mask_and_classify
from mnc_jax.model.stages.bridge import refine_boxes

TERMS = ("loss_1", "loss_2", "loss_3", "loss_4", "loss_5")
# Which loss can see which part of the parameters at all; the later ones see everything.
BLIND = {("loss_1", "mask stage"), ("loss_1", "category stage"), ("loss_2", "category stage")}


def key():
  return jax.random.key(1)


def moved(point, direction, step):
  return jax.tree.map(lambda x, u: np.asarray(x) + step * u, point, direction)


def quotients(evaluate, point, direction):
  """Returns {term: central difference} along a direction."""
  found = [jax.device_get(evaluate(moved(point, direction, sign * step)))
           for step in STEPS for sign in (1, -1)]
  return {term: settle([values[term] for values in found])
          for term in TERMS if term in found[0]}


def differentiate(terms, *point):
  """Returns ({term: value}, {term: gradients}, auxiliary) of `terms`, of (terms, auxiliary).

  A loop over the terms compiles one pullback for one of them; `jax.jacrev` batches it.
  """
  values, pull, auxiliary = jax.vjp(terms, *point, has_aux=True)
  names = sorted(values)
  chosen = {name: jnp.arange(len(names)) == index for index, name in enumerate(names)}
  rows = jax.lax.map(pull, jax.tree.map(lambda x: x.astype(jnp.float64), chosen))
  gradients = {name: jax.tree.map(lambda x, i=i: x[i], rows) for i, name in enumerate(names)}
  return values, gradients, auxiliary


def only_terms(metrics):
  return {term: metrics[term] for term in TERMS}


@pytest.mark.parametrize("way, method, grid", [
    ("jit", "gather", "center"), ("vmap", "matmul", "edge")])
def test_losses_in_parameters(way, method, grid):
  config, rng = whole.config(roi_method=method, roi_grid=grid), np.random.default_rng(5)
  with jax.enable_x64(True):
    params, batch = whole.params(), tiny.make_batch(1)
    all_targets = jax.jit(functools.partial(held.record, held.TARGETS, config=config))(
        params, batch, key())
    # Proposals, not the ground truth alone, have masks and deltas to be wrong about.
    for targets in all_targets:
      assert targets.foreground.sum() > batch.valid.sum()
    terms = lambda params: (
        only_terms(cascade_loss(params, batch, key(), config=config)[1]), None)
    both = functools.partial(differentiate, terms)
    if way == "vmap":
      free, found, _ = jax.tree.map(lambda x: x[0], jax.jit(jax.vmap(both))(
          jax.tree.map(lambda x: np.stack([x, x + 1e-3]), params)))
    else:
      free, found, _ = jax.jit(both)(params)
    found = {term: gradient for term, (gradient,) in jax.device_get(found).items()}
    assert {x.dtype for x in jax.tree.leaves(found)} == {np.dtype("float64")}
    evaluate = jax.jit(lambda params: only_terms(held.replay(
        held.TARGETS, all_targets, params, batch, key(), config=config)))
    for term, value in evaluate(params).items():
      np.testing.assert_allclose(value, free[term], rtol=1e-12)
    check_parameters(found, evaluate, params, rng, f"{method}, {grid}, {way}")


def check_parameters(found, evaluate, params, rng, case):
  largest = dict.fromkeys(TERMS, 0.0)
  for group, path in whole.GROUPS.items():
    for _ in range(3):
      direction = whole.direction(rng, path)
      for term, quotient in quotients(evaluate, params, direction).items():
        slope = inner(found[term], direction)
        if (term, group) in BLIND:
          assert slope == quotient == 0, (term, group)
          continue
        error = relative_error(slope, quotient)
        assert error < TOLERANCE, (term, group, slope, quotient)
        largest[term] = max(largest[term], error)
  for term, error in largest.items():
    print(f"relative error {error:.1e}  {term} in parameters [{case}]")


@functools.cache
def image_inputs():
  """Returns features of one image, boxes around its objects, its size and ground truth."""
  with jax.enable_x64(True):
    batch, config = tiny.make_batch(1), whole.config()
    shared = jax.jit(functools.partial(extract_stage_features, config=config))(
        whole.params(), batch.images, batch.image_sizes)
    rng = np.random.default_rng(8)
    size, ground_truth = jax.tree.map(lambda x: x[0], (batch.image_sizes, batch.ground_truth))
    boxes = np.repeat(np.asarray(ground_truth.boxes[:2], np.float64), 3, axis=0)
    boxes = np.clip(boxes + rng.normal(size=(6, 4)) * 2, 3.0, 61.0)
    # Where the backbone gives exact zeros, samples tie; that is no interior point.
    noisy = lambda x: x[0] + 0.2 * rng.normal(size=x.shape[1:])
    return jax.tree.map(noisy, shared), boxes, size, ground_truth


def later_losses(boxes, features, held_targets, *, config, firsts=(2, 4)):
  """Returns the losses of stages 2 to 5 as a function of stage 2's boxes, and their targets.

  `held_targets` are those of an earlier call, None: of these boxes. `firsts` are the mask stages.
  """
  (_, _, size, ground_truth), valid = image_inputs(), jnp.ones(len(boxes), bool)
  terms, used = {}, []
  for first in firsts:
    output = mask_and_classify(whole.params(), features, boxes, valid, config=config,
                               image_size=size)
    if held_targets is None:
      targets = roi_targets.roi_targets(boxes, valid, ground_truth, config=config)
      labels = roi_targets.mask_level_labels(
          targets, output.mask_logits, boxes, config=config.train)
    else:
      targets, labels = held_targets[len(used)]
    used.append((targets, labels))
    terms[f"loss_{first}"] = losses.mask_stage_loss(output.mask_logits, targets)
    terms[f"loss_{first + 1}"] = losses.category_stage_loss(output, targets, labels)
    boxes = refine_boxes(output, size, config=config.model)
  return terms, used


@pytest.mark.parametrize("way, method, grid", [
    ("jit", "gather", "center"), ("vmap", "gather", "edge"),
    ("vmap", "matmul", "center"), ("jit", "matmul", "edge")])
def test_losses_in_box_coordinates_and_features(way, method, grid):
  config, rng = whole.config(roi_method=method, roi_grid=grid), np.random.default_rng(6)
  with jax.enable_x64(True):
    features, boxes, *_ = image_inputs()
    losses_of = functools.partial(later_losses, config=config)
    both = lambda *inputs: differentiate(
        lambda *inputs: losses_of(*inputs, None), *inputs)[1:]
    if way == "vmap":
      found, all_targets = jax.tree.map(lambda x: x[0], jax.jit(jax.vmap(both, (0, None)))(
          np.stack([boxes, boxes + 0.1]), features))
    else:
      found, all_targets = jax.jit(both)(boxes, features)
    found = jax.device_get(found)
    assert all_targets[0][0].foreground.all()
    evaluate = jax.jit(lambda point: losses_of(*point, all_targets)[0])
    largest = {}
    for kind in ("boxes", "features"):
      for _ in range(4):
        direction = jax.tree.map(np.zeros_like, (boxes, features))
        draw = lambda x: rng.normal(size=x.shape)
        direction = ((draw(boxes), direction[1]) if kind == "boxes"
                     else (direction[0], jax.tree.map(draw, features)))
        for term, quotient in quotients(evaluate, (boxes, features), direction).items():
          error = relative_error(inner(found[term], direction), quotient)
          assert error < TOLERANCE, (term, kind, error)
          largest[term, kind] = max(largest.get((term, kind), 0.0), error)
  assert len(largest) == 8
  for (term, kind), error in largest.items():
    print(f"relative error {error:.1e}  {term} in {kind} [{method}, {grid}, {way}]")


def test_the_caffe_grid_passes_the_gradient_of_the_rounded_boxes():
  # Its values are constant between roundings, so their differences are zero. The gradient goes
  # straight through the rounding by design (release): it is that of `edge` at the rounded boxes.
  rng = np.random.default_rng(7)
  with jax.enable_x64(True):
    features, boxes, *_ = image_inputs()
    rounded = 4 * np.floor(boxes / 4 + 0.5)
    losses_of = lambda boxes, targets, grid: later_losses(
        boxes, features, targets, config=whole.config(roi_grid=grid), firsts=(2,))
    _, found, all_targets = jax.jit(functools.partial(
        differentiate, lambda boxes: losses_of(boxes, None, "caffe")))(boxes)
    edge = jax.jit(lambda boxes: losses_of(boxes, all_targets, "edge")[0])
    # At whole positions a bilinear sample has a kink; its slope is the one to the right.
    here = edge(rounded)
    for moving in range(len(boxes)):
      # One box at a time: the slopes of all of them nearly cancel out.
      direction = np.zeros_like(boxes)
      direction[moving] = rng.uniform(0.1, 1.0, 4)
      step = 1e-5  # Of a one-sided difference of second order.
      near, far = (edge(rounded + times * step * direction) for times in (1, 2))
      for term, (gradient,) in found.items():
        quotient = float(4 * near[term] - far[term] - 3 * here[term]) / (2 * step)
        assert relative_error(inner(gradient, direction), quotient) < TOLERANCE, term
