"""What would end a run late, or make it useless, is an error before its first step."""

import dataclasses
from unittest import mock
import warnings

import numpy as np
import pytest

from helpers import tiny
from helpers.toy_sets import make_source
from mnc_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from mnc_jax.ops.anchors import make_anchors
from mnc_jax.training import checks, loop, validation

VGG = Config(model=ModelConfig(num_categories=2))


@pytest.mark.parametrize(("sides", "buckets"), [
    ((600, 1000), ((608, 1008), (1008, 608))), ((320, 496), ((320, 496), (496, 320))),
    ((128, 128), ((128, 128),)), ((500, 90), ((96, 96),))])
def test_buckets_follow_from_the_sides(sides, buckets):
  config = DataConfig(short_side=sides[0], long_side=sides[1])
  assert config.padded_sizes == buckets
  assert dataclasses.replace(config, buckets=((7, 9),)).padded_sizes == ((7, 9),)


def test_a_batch_that_no_step_can_divide_is_found_before_anything_is_loaded():
  config = tiny.tiny_config(data={"batch_size": 6})
  with pytest.raises(ValueError, match=r"data\.batch_size is 6, .* over 4 devices: use "
                                       r"--data\.batch-size 8, .*or fewer devices"):
    loop.train_on(make_source([(64, 64)]), config, None, None, None)
  checks.check_batch(8, 4)


@pytest.mark.parametrize("partial", [False, True])
def test_anchors_inside_are_counted_as_they_are_drawn(partial):
  sizes = np.array([[96, 128], [181, 300], [224, 224], [600, 1000], [100, 1000], [20, 20]])
  config = tiny.override(VGG, model={"partial_cells": partial})
  for (height, width), found in zip(sizes, checks.find_fitting(sizes, config), strict=True):
    cells = -(-np.array([height, width]) // 16) if partial else np.array([height, width]) // 16
    anchors = np.asarray(make_anchors(*cells, stride=16, scales=VGG.model.anchor_scales,
                                      ratios=VGG.model.anchor_ratios))
    inside = ((anchors[..., :2] >= 0).all(axis=-1) & (anchors[..., 2] <= width)
              & (anchors[..., 3] <= height))
    np.testing.assert_array_equal(found, inside.any(axis=(0, 1)))


def test_shapes_of_anchors_that_are_inside_no_image_are_reported():
  config = tiny.override(VGG, model={"anchor_scales": (8.0, 30.0), "anchor_ratios": (0.5, 1.0)})
  sizes = np.array([[320, 496], [496, 320]])
  # Of 480 x 480 and 690 x 360 neither is inside; 128 x 128 and 184 x 96 are.
  with pytest.warns(UserWarning, match=r"toy: 2 shapes of anchors, such as 690 x 360 pixels .*, "
                                       "inside no image"):
    checks.warn_of_unused_anchors(sizes, "toy", config)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    checks.warn_of_unused_anchors(
        sizes, "toy", tiny.override(config, train={"anchor_border": 400.0}))


@pytest.mark.parametrize("most,data,expected", [
    ([[320, 496]], {}, [[320, 426]]),
    ([[320, 496]], {"scale_jitter": (0.8, 1.25)}, [[320, 496]]),
    ([400, 400], {"scale_jitter": (0.8, 1.1)}, [[352, 400]]),
    ([400, 400], {"turn": True}, [[320, 400], [400, 320]]),
    ([[320, 496]], {"turn": True}, [[320, 426]])])
def test_the_largest_views_are_jittered_cut_and_turned(most, data, expected):
  config = tiny.override(VGG, data=data)
  views = checks.largest_views(np.array([[320, 426]]), np.array(most), config)
  np.testing.assert_array_equal(views, expected)


@pytest.mark.parametrize("section,field,value,message", [
    ("model", "frozen_blocks", 3, r"model\.frozen_blocks is 3, but the backbone 'mine' has no"),
    ("train", "backbone_rate", 0.5, r"train\.backbone_rate is 0\.5, .* set it to 1")])
def test_a_backbone_without_blocks_has_nothing_to_freeze(monkeypatch, section, field, value,
                                                         message):
  monkeypatch.setattr(checks, "make_backbone", lambda model: mock.Mock(blocks=()))
  config = tiny.override(VGG, model={"backbone": "mine"})
  checks.check_blocks(config)
  with pytest.raises(ValueError, match=message):
    checks.check_blocks(tiny.override(config, **{section: {field: value}}))


def test_no_anchor_in_any_image_is_an_error_with_scales_that_fit():
  with pytest.raises(ValueError, match=(
      r"toy: no anchor is inside any of the 2 images, .* have 88 x 176 pixels .* 128 x 96 after "
      r"scaling\. Scales that fit: --model\.anchor-scales 4 8 16$")):
    checks.check_anchors(np.array([[96, 128], [90, 80]]), "toy", VGG)
  fitting = tiny.override(VGG, model={"anchor_scales": (4.0, 8.0, 16.0)})
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    checks.check_anchors(np.array([[96, 128], [90, 80]]), "toy", fitting)


def test_some_images_without_an_anchor_are_a_warning():
  with pytest.warns(UserWarning, match="no anchor is inside 1 of the 2 images"):
    checks.check_anchors(np.array([[600, 1000], [60, 1000]]), "toy", VGG)


def test_sides_that_the_small_backbone_cannot_have():
  with pytest.raises(ValueError, match=r"data\.crop_size has 70 x 64, .* of 16 .* 80 x 64"):
    checks.check_sides(tiny.tiny_config(data={"crop_size": (70, 64)}))
  with pytest.raises(ValueError, match=r"data\.buckets has 64 x 100, .* example 64 x 112"):
    checks.check_sides(tiny.tiny_config(data={"buckets": ((64, 64), (64, 100))}))


def test_an_evaluation_image_that_fits_no_bucket_is_found_before_training(monkeypatch):
  monkeypatch.setattr(checks, "load_source", lambda *_: make_source([(48, 64), (64, 48)]))
  config = tiny.tiny_config(data={"crop_size": (64, 64), "buckets": ((48, 64),)})
  with pytest.raises(ValueError, match=r"image 101 is 64 x 48 .* none .*: add one of 64 x 48"):
    checks.check_fit(make_source([(64, 64)]), config)


def test_validation_without_an_instance_is_found_before_training(monkeypatch, tmp_path):
  empty = make_source([(64, 64)] * 3, instances=0)
  monkeypatch.setattr(validation, "load_source", lambda *_: empty)
  config = tiny.tiny_config(train={"evaluate_every": 2})
  opened = validation.open_validation(config, tmp_path, None, ("cat", "dog"), {})
  with pytest.raises(ValueError, match="toy: no instance in 3 images for validation"):
    opened.__enter__()
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("options", "message"), [
    ({"decay_steps": (50, 50)}, r"\(50, 50\): a step that is named twice divides once"),
    ({"decay_steps": (0,)}, r"\(0,\): the rate is divided for 0 from the first step on."),
    ({"decay_steps": (90, 5), "warmup_steps": 10}, "5 is within the warm-up: .*, after 10 steps"),
    ({"decay_steps": (60, 90), "num_steps": 90}, "of which 90 is not reached in 90 steps")])
def test_drops_of_the_rate_that_are_lost_or_late_are_reported(options, message):
  with pytest.warns(UserWarning, match=message):
    checks.warn_of_schedule(TrainConfig(**options))
  checks.warn_of_schedule(TrainConfig(schedule="cosine", **options))


def test_a_drop_at_the_end_of_the_warmup_or_before_the_last_step_is_none_of_these():
  checks.warn_of_schedule(TrainConfig(decay_steps=(10, 20), warmup_steps=10, num_steps=21))


@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_a_warmup_as_long_as_the_run_is_reported(schedule):
  short = {"schedule": schedule, "decay_steps": (), "num_steps": 40}
  with pytest.warns(UserWarning, match="warmup_steps is 40, .*num_steps 40: the rate does not"):
    checks.warn_of_schedule(TrainConfig(warmup_steps=40, **short))
  checks.warn_of_schedule(TrainConfig(warmup_steps=39, **short))
