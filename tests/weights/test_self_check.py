"""The self-check: equal numbers here, different ones where something is broken."""

import functools
import json

import jax
import jax.numpy as jnp
import pytest

from helpers import tiny
from mnc_jax.model.cascade import init_params
from mnc_jax.ops import voting
from mnc_jax.weights.self_check import compare_numbers, record_numbers, tolerance

CONFIG = tiny.tiny_config(model={"backbone_widths": (8, 16)})


@functools.cache
def params():
  return jax.jit(lambda: init_params(jax.random.key(0), CONFIG))()


@functools.cache
def recorded():
  return json.dumps(record_numbers(params(), CONFIG))


def changed(stage, layer, part, factor):
  layers = dict(params()[stage])
  layers[layer] = layers[layer] | {part: layers[layer][part] * factor}
  return params() | {stage: layers}


def test_the_same_model_deviates_by_rounding_alone():
  deviations = compare_numbers(params(), CONFIG, json.loads(recorded()))
  assert list(deviations) == [
      "features", "objectness (stage 1)", "box deltas (stage 1)", "masks (stage 2)",
      "categories (stage 3)", "box deltas (stage 3)", "boxes (bridge)", "masks (stage 4)",
      "categories (stage 5)", "instances (voting)"]
  # Six digits are stored.
  assert max(deviations.values()) < 2e-6
  assert len(recorded()) < 5_000


def test_a_backbone_of_a_large_multiple_is_checked_on_a_padded_image():
  config = tiny.override(CONFIG, model={"backbone_widths": (4,) * 6})  # Of multiples of 64.
  own = jax.jit(lambda: init_params(jax.random.key(0), config))()
  numbers = record_numbers(own, config)
  assert max(compare_numbers(own, config, numbers).values()) < 2e-6
  assert numbers["size"] == [64, 96]


@pytest.mark.parametrize("stage, layer, part, first", [
    ("features", "stem", "kernel", "features"),
    ("box_stage", "objectness", "kernel", "objectness (stage 1)"),
    ("mask_stage", "mask", "kernel", "masks (stage 2)"),
    ("category_stage", "fc7_mask_norm", "scale", "categories (stage 3)"),
])
def test_a_changed_stage_is_the_first_that_deviates(stage, layer, part, first):
  # The sign of layers: one that a normalisation behind it does not undo.
  deviations = compare_numbers(changed(stage, layer, part, -1.0), CONFIG, json.loads(recorded()))
  assert next(name for name, value in deviations.items() if value > tolerance(CONFIG)) == first
  assert deviations[first] > 0.1


def test_numbers_that_are_not_finite_deviate_without_bound():
  broken = changed("mask_stage", "mask", "kernel", float("nan"))
  assert compare_numbers(broken, CONFIG, json.loads(recorded()))["masks (stage 2)"] == float("inf")


def test_a_nms_that_finds_nothing_is_noticed(monkeypatch):
  # As in a broken installation once: nothing found, and no error.
  broken = lambda boxes, scores, *, max_outputs, **options: (
      jnp.zeros(max_outputs, jnp.int32), jnp.zeros(max_outputs, bool))
  stored = json.loads(recorded())
  monkeypatch.setattr(voting, "nms", broken)
  jax.clear_caches()
  deviations = compare_numbers(params(), CONFIG, stored)
  jax.clear_caches()
  assert [name for name, value in deviations.items() if value > tolerance(CONFIG)] == [
      "instances (voting)"]


@pytest.mark.parametrize("field, value", [
    ("numbers", {}), ("image", "AAAA"), ("size", [1, 2]), ("boxes", "none")])
def test_stored_numbers_that_cannot_be_read_are_reported(field, value):
  stored = json.loads(recorded()) | {field: value}
  with pytest.raises(ValueError, match="stored for the self-check cannot be used"):
    compare_numbers(params(), CONFIG, stored)
