"""The images that validations use."""

import types
import warnings

import numpy as np
import pytest

from helpers import tiny
from helpers.toy_sets import make_source
from mnc_jax.training import checkpoint, validation
from mnc_jax.training.validation import space_evenly


@pytest.mark.parametrize(("count", "rows"), [
    (1, [0]), (3, [0, 3, 6]), (4, [0, 2, 5, 7]), (10, range(10)), (99, range(10))])
def test_images_are_evenly_spaced_over_the_split(count, rows):
  chosen = space_evenly(make_source([(8, 8)] * 10), count)
  np.testing.assert_array_equal(chosen.image_ids, 100 + np.array(rows))


def _open(images=10, shift=0, **sections):
  """A validation whose annotations are moved by `shift` pixels; nothing is compiled."""
  config = tiny.override(tiny.tiny_config(), **sections)
  truth = {"images": [{"id": number} for number in range(images)],
           "annotations": [{"bbox": [shift, 0, 4, 4]}]}
  unused = dict.fromkeys(validation.Validation._fields)
  return validation.Validation(**unused | {
      "conditions": validation.checksum_conditions(truth, config)})


@pytest.mark.parametrize("change,comparable", [
    ({}, True), ({"inference": {"max_shrink": 3.0}}, True), ({"images": 9}, False),
    ({"shift": 1}, False), ({"inference": {"nms_iou": 0.7}}, False),
    ({"data": {"short_side": 47}}, False)])
def test_the_best_state_is_compared_on_the_same_annotations_and_inference_alone(
    monkeypatch, change, comparable):
  saved = {"mean_ap_r_50": 0.9, "conditions": _open().conditions}
  monkeypatch.setattr(checkpoint, "saved_scores", lambda manager: saved)
  best = types.SimpleNamespace(latest_step=lambda: 300, directory="runs/mine/best")
  now = _open(**change)._replace(best=best)
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    validation.warn_of_replacement(now)
  assert [str(one.message).split(",")[1] for one in caught] == (
      [] if comparable else [" in runs/mine/best"])
  assert now.best_score() == (0.9 if comparable else -1)
  assert now.best_step() == (300 if comparable else None)


def test_states_of_versions_without_conditions_are_compared(monkeypatch):
  monkeypatch.setattr(checkpoint, "saved_scores", lambda manager: {"mean_ap_r_50": 0.9})
  best = types.SimpleNamespace(latest_step=lambda: 300)
  assert _open().best_score() == 0.9 and _open()._replace(best=best).best_step() == 300


def test_losses_of_batches_are_weighted_by_their_images():
  """The last batch has one real image."""
  metrics = [{"loss": np.float32(2), "loss_1": np.float32(1), "images": np.int32(3)},
             {"loss": np.float32(6), "loss_1": np.float32(0), "images": np.int32(1)}]
  assert validation.mean_over_images(metrics) == {"loss": 3.0, "loss_1": 0.75}
