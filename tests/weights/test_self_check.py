"""The self-check: equal numbers here, different ones where something is broken."""

import functools
import json
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
from mnc_jax.config import ModelConfig
from mnc_jax.ops import voting
from mnc_jax.weights import self_check
from mnc_jax.weights.self_check import compare_numbers, record_numbers, tolerance

VOTING = ["boxes (voting)", "scores (voting)", "labels (voting)"]
CONFIG = tiny.tiny_config(model={"backbone_widths": (8, 16)})


@functools.cache
def params():
  return tiny.random_params(CONFIG)


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
      "categories (stage 5)", *VOTING]
  # Six digits are stored.
  assert max(deviations.values()) < 2e-6
  assert len(recorded()) < 5_000


def test_a_backbone_of_a_large_multiple_is_checked_on_a_padded_image():
  config = tiny.override(CONFIG, model={"backbone_widths": (4,) * 6})  # Of multiples of 64.
  own = tiny.random_params(config)
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
  assert [name for name, value in deviations.items() if value > tolerance(CONFIG)] == VOTING


def in_one_array(stored):
  """Returns the numbers as 0.2.0 stored those of voting, a row per instance."""
  boxes, scores, labels = (
      np.reshape(stored["numbers"].pop(name)[:-2], (4, -1)) for name in VOTING)
  stored["numbers"]["instances (voting)"] = [
      *np.concatenate([boxes, scores, labels], axis=1).ravel().tolist(), 1.0, 2.0]
  return stored


@pytest.mark.parametrize("change, wrong", [
    (lambda found: found, []),
    (lambda found: found._replace(labels=found.labels[jnp.array([1, 0, 2, 3])]),
     ["labels (voting)"]),
    (lambda found: found._replace(scores=0.9 * found.scores), ["scores (voting)"]),
    (lambda found: found._replace(boxes=found.boxes + 4), ["boxes (voting)"])])
def test_labels_and_scores_are_compared_apart_from_boxes(monkeypatch, change, wrong):
  vote = self_check._vote
  monkeypatch.setattr(self_check, "_vote", lambda *arguments: change(vote(*arguments)))
  for stored in (json.loads(recorded()), in_one_array(json.loads(recorded()))):
    deviations = compare_numbers(params(), CONFIG, stored)
    assert list(deviations)[-3:] == VOTING
    assert [name for name, value in deviations.items() if value > tolerance(CONFIG)] == wrong


@pytest.mark.parametrize("field, value", [
    ("numbers", {}), ("numbers", {"instances (voting)": [1.0]}), ("image", "AAAA"),
    ("size", [1, 2]), ("boxes", "none")])
def test_stored_numbers_that_cannot_be_read_are_reported(field, value):
  stored = json.loads(recorded()) | {field: value}
  with pytest.raises(ValueError, match="stored for the self-check cannot be used"):
    compare_numbers(params(), CONFIG, stored)


@pytest.mark.parametrize("dtype", typing.get_args(
    typing.get_type_hints(ModelConfig)["compute_dtype"]))
def test_every_dtype_has_a_tolerance(dtype):
  assert 0 < tolerance(tiny.override(CONFIG, model={"compute_dtype": dtype})) <= 0.1
