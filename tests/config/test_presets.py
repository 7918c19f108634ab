"""What the paper's text and its authors' code do differently, field by field."""

import dataclasses
import json

import pytest

from mnc_jax import config, configs
from mnc_jax.config.serialization import from_json, to_json

# Field: the paper's value, the release's.
DIFFERENCES = {
    "model.frozen_blocks": (0, 2),
    "model.partial_cells": (False, True),
    "model.roi_grid": ("edge", "caffe"),
    "model.mask_size": (28, 21),
    "model.mask_resize": ("mean", "bilinear"),
    "model.box_delta_stds": ((1.0,) * 4, (0.1, 0.1, 0.2, 0.2)),
    "model.inclusive_corners": (False, True),
    "model.box_gradient_clip": (0.0, 1 / 512),
    "data.long_side": (2000, 1000),
    "data.buckets": (((600, 1000), (1000, 600), (600, 2000), (2000, 600)), ()),
    "data.flip": (False, True),
    "train.force_roi_anchors": (False, True),
    "train.proposals.pre_nms": (10**6, 12000),
    "train.proposals.min_box_size": (0.0, 25.6),
    "train.roi_positive_fraction": (0.25, 0.3),
    "train.roi_hard_negative_fraction": (1.0, 0.85),
    "train.gt_in_stage_4": (False, True),
    "train.mask_threshold": (0.5, 0.4),
    "train.binarize_mask_targets": (False, True),
    "train.weight_mask": (1.0, 2.0),
    "train.bias_rate": (1.0, 2.0),
    "train.decay_biases": (False, True),
    "train.num_steps": (40000, 25000),
    "train.decay_steps": ((32000,), (20000,)),
    "inference.proposals.pre_nms": (10**6, 6000),
    "inference.proposals.min_box_size": (0.0, 25.6),
    "inference.release_bridge": (False, True),
    "inference.refined_roi_pool": (0, 1),
    "inference.mask_threshold": (0.5, 0.4),
}
# What both have in common.
COMMON = {
    "model.backbone": "vgg16", "model.anchor_scales": (8.0, 16.0, 32.0),
    "model.anchor_ratios": (0.5, 1.0, 2.0), "model.box_stage_width": 512, "model.roi_size": 14,
    "model.roi_border": "clamp", "model.roi_pool": 2, "model.mask_head": "dense",
    "model.mask_hidden": 256, "model.dense_width": 4096, "model.box_gradient": True,
    "model.normalize": False,
    "model.pixel_mean_bgr": (102.9801, 115.9465, 122.7717), "data.short_side": 600,
    "data.batch_size": 8, "train.num_stages": 5, "train.anchors_per_image": 256,
    "train.anchor_positive_iou": 0.7, "train.anchor_negative_iou": 0.3,
    "train.anchor_border": 0.0, "train.proposals.nms_iou": 0.7,
    "train.proposals.num_proposals": 300,
    "train.rois_per_image": 64, "train.roi_positive_iou": 0.5,
    "train.roi_hard_negative_iou": 0.1, "train.mask_label_iou": 0.5, "train.weight_box": 1.0,
    "train.weight_category": 1.0, "train.optimizer": "sgd", "train.learning_rate": 1e-3,
    "train.momentum": 0.9, "train.weight_decay": 5e-4, "train.schedule": "step",
    "inference.proposals.nms_iou": 0.7, "inference.proposals.num_proposals": 300,
    "inference.nms_iou": 0.3,
    "inference.similar_iou": 0.5, "inference.boxes": "mask", "inference.max_instances": 100,
}


def fields_of(part, path=""):
  """Returns {path: value} of all fields of a config, those of its parts included."""
  fields = {}
  for field in dataclasses.fields(part):
    value, name = getattr(part, field.name), f"{path}{field.name}"
    fields |= fields_of(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
  return fields


def test_presets_differ_in_these_fields_and_no_others():
  paper, release = fields_of(config.paper()), fields_of(config.release())
  assert {name: (value, release[name]) for name, value in paper.items()
          if value != release[name]} == DIFFERENCES


@pytest.mark.parametrize("preset", [config.paper, config.release])
def test_presets_have_the_rest_in_common_and_survive_json(preset):
  fields = fields_of(preset())
  assert {name: fields[name] for name in COMMON} == COMMON
  assert from_json(to_json(preset())) == preset()


def test_only_the_presets_report_the_bounds_of_masks():
  boxes = {name: configs.get(name).inference.boxes for name in configs.names()}
  assert config.Config().inference.boxes == "regressed"
  assert sorted(name for name, kind in boxes.items() if kind == "mask") == [
      "coco_mini_release", "paper", "release", "voc_vgg16_mnc5", "voc_vgg16_release"]


def test_a_saved_config_without_the_field_reports_regressed_boxes():
  text = json.loads(to_json(config.Config()))
  del text["inference"]["boxes"]
  assert from_json(json.dumps(text)).inference.boxes == "regressed"
