"""The images that validations use."""

import types

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


@pytest.mark.parametrize("change", ["none", "images", "inference", "side", "tiles", "older"])
def test_the_best_state_is_compared_on_the_same_images_and_inference_alone(monkeypatch, change):
  def conditions(images=10, **sections):
    return types.SimpleNamespace(
        source=make_source([(8, 8)] * images), best=None,
        config=tiny.override(tiny.tiny_config(), **sections))
  saved = {"mean_ap_r_50": 0.9}
  if change != "older":
    saved["conditions"] = validation.checksum_conditions(conditions())
  monkeypatch.setattr(checkpoint, "saved_scores", lambda manager: saved)
  now = {"images": conditions(9), "inference": conditions(inference={"nms_iou": 0.7}),
         "side": conditions(data={"short_side": 47}),
         "tiles": conditions(inference={"max_shrink": 3.0})}.get(change, conditions())
  assert validation.find_best(now) == (0.9 if change in ("none", "tiles", "older") else -1)
