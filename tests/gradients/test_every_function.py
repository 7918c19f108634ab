"""Every public function is in the table of gradients, or listed here with a reason."""

import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradients import networks, operations
from helpers import tiny
import mnc_jax
from mnc_jax import ops
from mnc_jax.model import backbones, roi_targets, stages
from mnc_jax.ops.nms import soft_nms
from mnc_jax.ops.sampling import top_indices
from mnc_jax.ops.voting import vote_masks

_MODULES = ("batch_checks", "matching", "roi_targets", "anchor_targets", "losses", "forward",
            "cascade")
_INDICES = "returns indices and masks; gradients flow through what they index"
_CONSTANTS = "targets are constants"
_COUNTS = "integers in, integers or bools out"
_INIT = "draws parameters from a key"
_INSTANCES = "instances are chosen by voting, behind stop_gradient"
_INFERENCE = "the same stages for inference, which chooses instances"
_NUMBERS = "of the config alone"
_REGISTERS = "keeps a function under a name"
_WHOLE = "test_cascade_losses.py"
WITHOUT_ROW = {
    "ops.anchors.make_anchors": "no input but counts",
    "ops.anchors.anchor_sides": _NUMBERS,
    "ops.nms.nms": _INDICES,
    "ops.nms.greedy_nms": _INDICES,
    "ops.nms.soft_nms": _INDICES,
    "ops.nms_tiles.rank_rows": _INDICES,
    "ops.nms_tiles.choose_by_tiles": _INDICES,
    "ops.nms_tiles.suppressed": "returns bools",
    "ops.sampling.sample_mask": _INDICES,
    "ops.sampling.top_indices": _INDICES,
    "ops.padding.count_cells": _COUNTS,
    "ops.padding.cells_inside": _COUNTS,
    "ops.mask_average.average_clipped": _INSTANCES,
    "ops.mask_average.average_masks": _INSTANCES,
    "ops.masks.read_binary_masks": _CONSTANTS,
    "ops.voting.vote_masks": _INSTANCES,
    "matching.in_crowd": "returns bools",
    "matching.split_by_overlap": "returns bools",
    "matching.best_overlaps": _CONSTANTS,
    "matching.fold_instances": _CONSTANTS,
    "roi_targets.roi_targets": _CONSTANTS,
    "roi_targets.mask_level_labels": _CONSTANTS,
    "anchor_targets.anchor_targets": _CONSTANTS,
    "anchor_targets.force_anchors": _CONSTANTS,
    "stages.box_stage.init_box_stage": _INIT,
    "stages.initial_scale.feature_init": _INIT,
    "stages.mask_stage.init_mask_stage": _INIT,
    "stages.category_stage.init_category_stage": _INIT,
    "backbones.features.init_features": _INIT,
    "backbones.features.make_backbone": _NUMBERS,
    "backbones.features.register_backbone": _REGISTERS,
    "backbones.plain.plain_backbone": _NUMBERS,
    "backbones.hourglass.make_hourglass": _NUMBERS,
    "backbones.vgg16.make_vgg16": _NUMBERS,
    "backbones.features.frozen_layers": _NUMBERS,
    "backbones.features.backbone_layers": _NUMBERS,
    "backbones.resnet.count_groups": _NUMBERS,
    "backbones.resnet.make_resnet": _NUMBERS,
    "backbones.resnet.layer_names": _NUMBERS,
    "batch_checks.check_images": "compares dtypes",
    "batch_checks.check_sizes": "compares shapes",
    "batch_checks.check_batch": "compares shapes",
    "batch_checks.nan_of_wrong_labels": "integers and bools in, constants out",
    "parameters.init_params": _INIT,
    "cascade.cascade_loss": _WHOLE,
    "forward.extract_stage_features": _WHOLE,
    "forward.score_anchors": _WHOLE,
    "forward.mask_and_classify": _WHOLE,
    "cascade.run_cascade": _INFERENCE,
    "losses.register_loss": _REGISTERS,
    "losses.find_loss": "of the config alone; the losses have rows of their own",
    "losses.check_losses": _NUMBERS,
    "training.trained_model.sample_images": "returns paths",
    "data.reader_names.register_reader": _REGISTERS,
    "config.experiment.with_categories": _NUMBERS,
    "config.presets.paper": _NUMBERS,
    "config.presets.release": _NUMBERS,
    "evaluation.detect.detect": _INSTANCES,
    "evaluation.visualize.draw": "draws on the host",
    "training.trained_model.load": "reads files",
    "training.parallel_step.make_pmapped_train_step": "takes the gradient of cascade_loss itself",
    "inference.predict": _INSTANCES,
    "inference.predict_ensemble": _INSTANCES,
    "training.step.init_state": "copies parameters",
    "training.step.train_step": "takes the gradient of cascade_loss itself",
}


def name_of(function):
  return _shorten(f"{function.__module__}.{function.__qualname__}")


def _shorten(path):
  return path.removeprefix("mnc_jax.").removeprefix("model.")


def public_functions(module):
  """Returns the functions and custom-gradient functions that a module defines."""
  return {_shorten(f"{module.__name__}.{name}")
          for name, value in vars(module).items()
          if not name.startswith("_") and not inspect.isclass(value)
          and callable(value) and getattr(value, "__module__", "") == module.__name__}


def all_public_functions():
  paths = [f"mnc_jax.model.{name}" for name in _MODULES]
  for package in (ops, stages, backbones):
    paths += [f"{package.__name__}.{part.name}" for part in pkgutil.iter_modules(package.__path__)]
  found = set().union(*(public_functions(importlib.import_module(path)) for path in paths))
  exported = (getattr(mnc_jax, name) for name in mnc_jax.__all__)
  return found | {name_of(value) for value in exported if not inspect.isclass(value)}


def in_table():
  rows = operations.ROWS + networks.ROWS
  assert len({row.name for row in rows}) == len(rows)
  return {name for row in rows for name in row.covers or (name_of(row.call),)}


def test_every_public_function_is_in_the_table_or_has_a_reason():
  functions = all_public_functions()
  assert {"ops.gradients.clip_gradient", "ops.boxes.box_iou", "inference.predict"} <= functions
  assert functions - in_table() - set(WITHOUT_ROW) == set()


def test_table_and_reasons_name_existing_functions_once():
  assert (in_table() | set(WITHOUT_ROW)) - all_public_functions() == set()
  assert in_table() & set(WITHOUT_ROW) == set()


def test_a_new_function_would_be_missed():
  module = type(operations)("mnc_jax.new")
  exec("def draw(x): return x\ndef _hidden(x): return x", vars(module))
  assert public_functions(module) == {"new.draw"}


def _voted(boxes, scores):
  return vote_masks(jnp.ones((4, 3, 3)), boxes, jnp.stack([scores, scores], 1), nms_iou=0.3,
                    similar_iou=0.5, max_instances=3, height=16, width=16)[::2]


def _roi_targets(boxes, scores):
  del scores
  targets = roi_targets.roi_targets(boxes, jnp.ones(4, bool), operations.gt_of_one_image(),
                             config=tiny.tiny_config())
  return targets.masks, targets.box_deltas


@pytest.mark.parametrize("choose", [
    lambda boxes, scores: soft_nms(boxes, scores, sigma=0.5, max_outputs=3)[1],
    lambda boxes, scores: boxes[top_indices(scores, 3)[0]] * 0 + scores[0] * 0, _voted,
    _roi_targets], ids=["soft_nms", "top_indices", "vote_masks", "roi_targets"])
def test_choices_and_targets_pass_no_gradient(choose):
  boxes = jnp.asarray(operations.boxes_in(np.random.default_rng(0), 4), jnp.float32)
  total = lambda *inputs: sum(x.sum() for x in jax.tree.leaves(choose(*inputs)))
  for gradient in jax.grad(total, (0, 1))(boxes, jnp.array([0.9, 0.8, 0.7, 0.6])):
    assert not gradient.any()
