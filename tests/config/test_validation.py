"""Values of a config that no run can have."""

import contextlib

import pytest

from helpers import tiny
from mnc_jax import config
from mnc_jax.config.validation import (
  check_effects,
  check_overrides,
  check_pooling,
  check_same_meaning,
  check_values,
)


@pytest.mark.parametrize(("section", "field", "value", "message"), [
    ("train", "num_steps", -5, r"train\.num_steps is -5: it must be 1 or more"),
    ("train", "num_steps", 0, r"train\.num_steps is 0: it must be 1 or more"),
    ("train", "learning_rate", -1.0, r"train\.learning_rate is -1\.0: it must be 0 or more"),
    ("train", "learning_rate", float("nan"), r"train\.learning_rate is nan"),
    ("train", "seed", -1, r"train\.seed is -1: it must be 0 or more"),
    ("train", "accumulate_steps", 3, "num_steps is 100, no multiple of .* 3: .* last 1 would be"),
    ("train", "evaluate_every", -3, r"train\.evaluate_every is -3: it must be 0 or more"),
    ("data", "batch_size", 0, r"data\.batch_size is 0: it must be 1 or more"),
    ("model", "box_gradient_clip", -0.1, r"model\.box_gradient_clip is -0\.1"),
    ("model", "box_delta_stds", (0.1, 0.1, 0.0, 0.2), r"model\.box_delta_stds is .* above 0"),
    ("model", "dense_width", -4, r"model\.dense_width is -4: it must be 1 or more"),
    ("model", "anchor_scales", (), r"model\.anchor_scales is \(\): there must be one or more"),
    ("model", "anchor_ratios", (1.0, 0.0), r"model\.anchor_ratios is .* each above 0"),
    ("model", "backbone_widths", (32,), r"backbone_widths is \(32,\): .* needs two or more"),
    ("model", "roi_size", 0, r"model\.roi_size is 0: it must be 1 or more"),
    ("inference", "min_score", -0.1, r"inference\.min_score is -0\.1: it must be from 0 to 1"),
    ("train", "anchor_positive_iou", 0.2,
     r"train.anchor_negative_iou is 0\.3, above train.anchor_positive_iou, which is 0\.2"),
    ("train", "roi_hard_negative_iou", -0.1, r"roi_hard_negative_iou is -0\.1: .* 0 or more"),
    ("inference", "min_score", 50.0, r"min_score is 50\.0: it must be from 0 to 1"),
    ("inference", "mask_threshold", 40.0, r"mask_threshold is 40\.0: it must be from 0 to 1"),
    ("train", "roi_positive_fraction", 3.0, r"roi_positive_fraction is 3\.0: .* from 0 to 1"),
    ("train", "weight_box", -1.0, r"train\.weight_box is -1\.0: it must be 0 or more"),
    ("train", "backbone_rate", 0.0, r"train\.backbone_rate is 0\.0: it must be above 0"),
    ("data", "copy_paste", 1.5, r"data\.copy_paste must be a probability, in \[0, 1\], found 1\.5"),
    ("data", "crop_share", 2.0, r"data\.crop_share must be in \(0, 1\], found 2\.0"),
    ("data", "scale_jitter", (2.0, 1.0), r"data\.scale_jitter must be \(low, high\)"),
    ("inference", "max_shrink", -1.0, r"inference\.max_shrink is -1\.0: it must be 0 or more"),
    ("inference", "max_shrink", float("inf"), r"inference\.max_shrink is inf"),
    ("inference", "tile_overlap", -0.1, r"inference\.tile_overlap is -0\.1: it must be 0 or more"),
    ("inference", "tile_overlap", 0.0, r"inference\.tile_overlap is 0\.0: it must be 0\.1 or more"),
    ("inference", "tile_overlap", 0.9, r"inference\.tile_overlap is 0\.9: it must be 0\.8 or less"),
    ("inference", "soft_nms_sigma", 0.0, r"inference\.soft_nms_sigma is 0\.0: .* above 0"),
    ("inference", "soft_nms_sigma", float("nan"), r"inference\.soft_nms_sigma is nan"),
    ("inference", "scales", (), r"inference\.scales is \(\): it must have one factor or more"),
    ("inference", "scales", (1.0, 0.0), r"inference\.scales is \(1\.0, 0\.0\): .* above 0"),
    ("inference", "scales", (float("inf"),), r"inference\.scales is \(inf,\)"),
])
def test_impossible_values_are_named(section, field, value, message):
  with pytest.raises(ValueError, match=message):
    check_values(tiny.tiny_config(**{section: {field: value}}))


def test_all_presets_have_possible_values():
  for preset in (config.Config(), config.paper(), config.release(), tiny.tiny_config()):
    check_values(preset)


@pytest.mark.parametrize(("backbone", "blocks"), [("vgg16", 5), ("resnet101", 4)])
def test_more_frozen_blocks_than_there_are_is_an_error(backbone, blocks):
  frozen = lambda count: tiny.tiny_config(model={"backbone": backbone, "frozen_blocks": count})
  check_values(frozen(blocks))
  with pytest.raises(ValueError, match=f"frozen_blocks is {blocks + 1}, but the {backbone} .*has"):
    check_values(frozen(blocks + 1))


def test_weights_with_another_meaning_are_rejected_with_field_and_values():
  trained, requested = (tiny.tiny_config(model={"box_delta_stds": stds}).model
                        for stds in ((1.0,) * 4, (0.1, 0.1, 0.2, 0.2)))
  check_same_meaning(trained, trained, "file")
  with pytest.raises(ValueError, match=(
      r"file was trained with model.box_delta_stds \(1.0, .*, but here it is \(0.1, ")):
    check_same_meaning(trained, requested, "file")


@pytest.mark.parametrize(("fields", "message"), [
    ({"model": {"backbone": "vgg16"}}, r"backbone_widths is .* without model\.backbone small"),
    ({"model": {"backbone_norm": "group"}}, "model.backbone_norm is group, .* without a ResNet"),
    ({"model": {"resnet_width": 32}}, "model.resnet_width is 32, .* without a ResNet"),
    ({"model": {"frozen_blocks": 1}}, "model.frozen_blocks is 1, .* VGG-16 or ResNet"),
    ({"model": {"pixel_mean_bgr": (1.0, 2.0, 3.0)}}, "model.pixel_mean_bgr .* VGG-16 or ResNet"),
    ({"model": {"partial_cells": True}},
     "partial_cells is True, .* vgg16 without model.pyramid_stride: set it to False"),
    ({"model": {"pyramid_stride": 8}}, "pyramid_stride is 8, .* VGG-16 or ResNet"),
    ({"model": {"pyramid_width": 64}}, "pyramid_width is 64, .* without model.pyramid_stride"),
    ({"model": {"mask_convs": 4}}, "mask_convs is 4, .* without model.mask_head conv"),
    ({"data": {"data_dir": "x", "train_annotations": "y"}}, "data.data_dir is x, .* prepared set"),
    ({"model": {"backbone": "resnet50", "backbone_widths": (32, 64, 96, 128)}},
     "dense_width is 32"),
    ({"model": {"box_gradient": False, "box_gradient_clip": 0.1}}, "box_gradient_clip is 0.1"),
    ({"train": {"num_stages": 3, "gt_in_stage_4": True}}, "gt_in_stage_4 is True"),
    ({"train": {"momentum": 0.5}}, "train.momentum is 0.5, .* without train.optimizer sgd"),
    ({"train": {"schedule": "cosine", "decay_steps": (5,)}}, r"train.decay_steps is \(5,\)"),
    ({"train": {"init_only_backbone": True}}, "init_only_backbone is True, .* train.init_weights"),
    ({"train": {"init_weights": "x", "init_only_backbone": True, "init_reset_categories": True}},
     "init_reset_categories is True, .* of which more than the backbone"),
    ({"train": {"evaluate_images": 5}}, "evaluate_images is 5, .* without train.evaluate_every"),
    ({"inference": {"soft_nms_sigma": 0.3}}, "soft_nms_sigma is 0.3, .*inference.nms soft"),
    ({"inference": {"nms": "soft", "nms_iou": 0.4}}, "nms_iou is 0.4, .* greedy"),
    ({"inference": {"max_shrink": 0.0, "tile_overlap": 0.5}},
     "inference.tile_overlap is 0.5, but it has no effect without inference.max_shrink"),
])
def test_a_field_without_effect_is_named_with_what_it_needs(fields, message):
  with pytest.raises(ValueError, match=message):
    check_effects(tiny.tiny_config(**fields))


@pytest.mark.parametrize(("model", "ends_well"), [
    ({"roi_size": 7}, False), ({"roi_size": 8}, True),
    ({"roi_size": 7, "backbone": "resnet50", "pyramid_stride": 8}, False),
    ({"roi_size": 7, "backbone": "resnet50"}, True)])
def test_an_odd_number_of_cells_that_stage_3_would_pool_is_an_error(model, ends_well):
  given = tiny.override(config.Config(), model=model)
  with (contextlib.nullcontext() if ends_well else
        pytest.raises(ValueError, match="model.roi_size is 7: it must be even")):
    check_pooling(given)


def test_empty_values_are_not_errors():
  small = {"backbone": "small", "frozen_blocks": 0, "partial_cells": False}
  check_effects(tiny.override(config.paper(), model=small))
  check_effects(tiny.tiny_config(train={"schedule": "cosine", "decay_steps": ()}))


def test_presets_set_nothing_without_effect():
  for preset in (config.Config(), config.paper(), config.release(), tiny.tiny_config()):
    check_effects(preset)


def test_overrides_of_a_trained_model_keep_its_meaning():
  trained = tiny.tiny_config()
  check_overrides(trained, tiny.tiny_config(
      model={"roi_method": "gather", "compute_dtype": "bfloat16", "roi_chunk": 3},
      inference={"max_instances": 3}, data={"short_side": 32}))
  with pytest.raises(ValueError, match=r"model\.roi_grid was center in training; set to edge"):
    check_overrides(trained, tiny.tiny_config(model={"roi_grid": "edge"}))
  with pytest.raises(ValueError, match=r"train\.seed was 0 .* set to 4 here .* no effect"):
    check_overrides(trained, tiny.tiny_config(train={"seed": 4}))
  with pytest.raises(ValueError, match=r"data\.batch_size was .* set to 3 here .* no effect"):
    check_overrides(trained, tiny.tiny_config(data={"batch_size": 3}))
