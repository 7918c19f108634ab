"""The table of gradients, first half: geometry, losses and targets."""

import functools

import jax
import numpy as np

from gradients.differences import Row
from helpers import oracles, tiny
from mnc_jax.model import losses, matching, roi_targets
from mnc_jax.model.anchor_targets import AnchorTargets
from mnc_jax.model.roi_targets import RoiTargets
from mnc_jax.ops import bilinear, boxes, conv, gradients, masks, max_pool, padding, roi_warp
from mnc_jax.structs import AnchorOutput, Proposals, StageOutput

_SIDE = 16.0
_EACH_WAY = ("vmap", "jit", "plain")


def boxes_in(rng, count, *, smallest=3.0):
  return oracles.random_boxes(rng, count, _SIDE, smallest).astype(np.float64)


def _pair(rng):
  return boxes_in(rng, 4), boxes_in(rng, 4)


def _masks_and_boxes(rng):
  return rng.uniform(size=(3, 5, 5)), boxes_in(rng, 3)


def _features_and_boxes(rng):
  return rng.normal(size=(6, 8, 2)), boxes_in(rng, 5)


def _deltas_and_anchors(rng):
  return rng.normal(size=(5, 4)) * 0.5, boxes_in(rng, 5)


def _mask_overlap(rng):
  predicted, target = rng.uniform(size=(2, 3, 4, 4))
  return predicted, target, boxes_in(rng, 3), rng.uniform(60, 90, 3)


def _anchor_loss(logits, deltas, target_deltas, sampled, positive):
  output = AnchorOutput(target_deltas, logits, deltas, sampled)
  return losses.box_stage_loss(output, AnchorTargets(sampled, positive, target_deltas))


def _anchor_loss_inputs(rng):
  sampled = np.arange(8) < 6
  return (rng.normal(size=(8, 2)), rng.normal(size=(8, 4)), rng.normal(size=(8, 4)), sampled,
          sampled & (np.arange(8) < 3))


def _roi_targets(labels, masks, deltas):
  foreground = labels > 0
  return RoiTargets(labels >= 0, foreground, labels, masks, labels, deltas)


def _category_loss(category_logits, box_category_logits, box_deltas, labels, target_deltas):
  output = StageOutput(target_deltas, labels > 0, target_deltas, category_logits,
                       box_category_logits, box_deltas)
  targets = _roi_targets(labels, target_deltas, target_deltas)
  return losses.category_stage_loss(output, targets, labels)


def _category_loss_inputs(rng):
  return (rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), rng.normal(size=(4, 3, 4)),
          np.array([2, 0, 1, 0]), rng.normal(size=(4, 4)))


def gt_of_one_image():
  return jax.tree.map(lambda x: x[0], tiny.make_batch(1).ground_truth)


def _joined(moved):
  return matching.join_ground_truth(moved, np.ones(len(moved), bool), gt_of_one_image())[0]


def _sampled(moved):
  count = len(moved)
  proposals = Proposals(moved, np.ones(count), np.ones(count, bool), np.arange(count),
                        np.int32(0))
  return roi_targets.sample_rois(proposals, gt_of_one_image(), jax.random.key(3),
                             config=tiny.tiny_config().train).boxes


def _best_overlap(moved):
  return matching.match_ground_truth(moved, gt_of_one_image())[::2]


def _around_gt(rng):
  ground_truth = np.asarray(gt_of_one_image().boxes[:2], np.float64)
  return (np.repeat(ground_truth, 4, axis=0) + rng.normal(size=(8, 4)) * 3,)


def _warp_rows():
  warp = functools.partial(roi_warp.roi_warp, size=3, stride=2)
  pool = functools.partial(roi_warp.roi_pool, size=2, pool=2, stride=2, chunk=2)
  rows = []
  for name, function in (("roi_warp", warp), ("roi_pool", pool)):
    for method in ("gather", "matmul"):
      for grid in ("center", "edge", "caffe"):
        # The gradient of `caffe` in boxes is not that of its values: see test_straight_through.
        wrt = (0,) if grid == "caffe" else (0, 1)
        call = functools.partial(function, method=method, grid=grid)
        # One program per variant, but each way for both methods.
        ways = _EACH_WAY if name == "roi_warp" and grid == "edge" else ("vmap",)
        rows.append(Row(f"{name}[{method}, {grid}]", call, _features_and_boxes, wrt,
                        covers=(f"ops.roi_warp.{name}",), ways=ways))
      rows.append(Row(f"{name}[{method}, clamp]",
                      functools.partial(function, method=method, border="clamp"),
                      _features_and_boxes, (0, 1), covers=(f"ops.roi_warp.{name}",),
                      ways=("jit",)))
  return rows


def _convolve(inputs, kernel):
  # Large enough for the kernel gradient by products.
  return conv.conv_general_dilated(
      inputs, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


_STDS = (0.1, 0.1, 0.2, 0.2)
ROWS = (
    Row("as_float", boxes.as_float, lambda rng: (rng.normal(size=5),), (0,)),
    Row("as_floats", boxes.as_floats, lambda rng: (rng.normal(size=5), rng.normal(size=(2, 3))),
        (0, 1)),
    Row("larger", boxes.larger, lambda rng: tuple(rng.normal(size=(2, 6))), (0, 1), ways=_EACH_WAY),
    Row("smaller", boxes.smaller, lambda rng: tuple(rng.normal(size=(2, 6))), (0, 1)),
    Row("box_areas", boxes.box_areas, lambda rng: (boxes_in(rng, 5),), (0,)),
    Row("box_iou", boxes.box_iou, _pair, (0, 1), ways=_EACH_WAY),
    Row("encode_boxes", functools.partial(boxes.encode_boxes, stds=_STDS), _pair, (0, 1),
        covers=("ops.boxes.encode_boxes",)),
    Row("decode_boxes", functools.partial(boxes.decode_boxes, stds=_STDS), _deltas_and_anchors,
        (0, 1), covers=("ops.boxes.decode_boxes",), ways=_EACH_WAY),
    Row("clip_boxes", lambda b: boxes.clip_boxes(b, 11, 13), lambda rng: (boxes_in(rng, 9),), (0,),
        covers=("ops.boxes.clip_boxes",), ways=_EACH_WAY),
    Row("clip_corners", lambda b: boxes.clip_corners(b, 11, 13), lambda rng: (boxes_in(rng, 9),),
        (0,), covers=("ops.boxes.clip_corners",)),
    Row("corner_pixels", boxes.corner_pixels, lambda rng: (boxes_in(rng, 5),), (0,)),
    Row("rounded", bilinear.rounded, lambda rng: (rng.normal(size=5),), (0,),
        covers=("ops.bilinear.rounded",), ways=_EACH_WAY),
    Row("cell_centers", lambda low, high: bilinear.cell_centers(low, high, 5),
        lambda rng: tuple(rng.normal(size=(2, 4))), (0, 1), covers=("ops.bilinear.cell_centers",)),
    Row("neighbors", lambda x: bilinear.neighbors(x, 5)[1],
        lambda rng: (rng.uniform(-1, 6, 12),), (0,), covers=("ops.bilinear.neighbors",),
        ways=_EACH_WAY),
    Row("along", bilinear.along, lambda rng: (rng.normal(size=(2, 3)), rng.uniform(size=4)),
        (0, 1)),
    Row("kappa", lambda x: bilinear.kappa(x, 5), lambda rng: (rng.uniform(-2, 7, 12),), (0,),
        covers=("ops.bilinear.kappa",), ways=_EACH_WAY),
    Row("clamped_kappa", lambda x: bilinear.clamped_kappa(x, 5),
        lambda rng: (rng.uniform(-1, 6, 12),), (0,),
        covers=("ops.bilinear.clamped_kappa", "ops.bilinear.clamp_positions"), ways=_EACH_WAY),
    Row("clip_gradient[limit not reached]", lambda x: gradients.clip_gradient(x, 100.0),
        lambda rng: (rng.normal(size=5),), (0,), covers=("ops.gradients.clip_gradient",),
        ways=_EACH_WAY),
    Row("paste_masks", lambda m, b: masks.paste_masks(m, b, 14, 17), _masks_and_boxes, (0, 1),
        covers=("ops.masks.paste_masks",)),
    Row("resample_masks", lambda m, a, b: masks.resample_masks(m, a, b, 6),
        lambda rng: (*_masks_and_boxes(rng), boxes_in(rng, 3, smallest=7.0)), (0, 1, 2),
        covers=("ops.masks.resample_masks",)),
    *(Row(f"resize_masks[{method}]",
          functools.partial(masks.resize_masks, size=4, method=method),
          lambda rng: (rng.uniform(size=(3, 7, 7)),), (0,), covers=("ops.masks.resize_masks",))
      for method in ("mean", "bilinear")),
    Row("mask_iou_in_box", masks.mask_iou_in_box, _mask_overlap, (0, 1, 2, 3)),
    Row("clear_outside", lambda x: padding.clear_outside(x, np.array([[12, 20]]), 4),
        lambda rng: (rng.normal(size=(1, 4, 6, 2)),), (0,), covers=("ops.padding.clear_outside",)),
    *_warp_rows(),
    Row("conv_general_dilated", _convolve,
        lambda rng: (rng.normal(size=(1, 14, 14, 2048)), rng.normal(size=(3, 3, 2048, 8)) / 100),
        (0, 1), covers=("ops.conv.conv_general_dilated",)),
    *(Row(f"max_pool[{padding_name}]",
          functools.partial(max_pool.max_pool, padding=padding_name),
          lambda rng: (rng.normal(size=(2, 5, 7, 3)),), (0,), covers=("ops.max_pool.max_pool",))
      for padding_name in ("VALID", "SAME")),
    Row("max_of_tiles", lambda x: max_pool.max_of_tiles(x, 2),
        lambda rng: (rng.normal(size=(3, 4, 6, 2)),), (0,), covers=("ops.max_pool.max_of_tiles",),
        ways=_EACH_WAY),
    Row("max_of_blocks", lambda x: max_pool.max_of_blocks(x, (0, 2)),
        lambda rng: (rng.normal(size=(3, 4, 2, 5)),), (0,), covers=("ops.max_pool.max_of_blocks",),
        ways=_EACH_WAY),
    Row("masked_mean", losses.masked_mean,
        lambda rng: (rng.normal(size=6), rng.integers(0, 2, 6) * 1.0 + 0.5), (0, 1)),
    Row("smooth_l1", functools.partial(losses.smooth_l1, sigma=3.0),
        lambda rng: (rng.normal(size=12),), (0,), covers=("losses.smooth_l1",), ways=_EACH_WAY),
    Row("box_stage_loss", _anchor_loss, _anchor_loss_inputs, (0, 1),
        covers=("losses.box_stage_loss",)),
    Row("mask_stage_loss", lambda logits, labels, target: losses.mask_stage_loss(
        logits, _roi_targets(labels, target, labels)),
        lambda rng: (rng.normal(size=(4, 3, 3)), np.array([1, 0, 2, -1]),
                     rng.uniform(size=(4, 3, 3))), (0,), covers=("losses.mask_stage_loss",)),
    Row("category_stage_loss", _category_loss, _category_loss_inputs, (0, 1, 2),
        covers=("losses.category_stage_loss",)),
    Row("join_ground_truth", _joined, _around_gt, (0,), covers=("matching.join_ground_truth",)),
    Row("sample_rois", _sampled, _around_gt, (0,), covers=("roi_targets.sample_rois",)),
    Row("match_ground_truth", _best_overlap, _around_gt, (0,),
        covers=("matching.match_ground_truth",)),
)
