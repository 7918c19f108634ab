"""The operations, and the release's preset, against inputs and outputs of the authors' code.

Its boxes are inclusive corners, width = x2 - x1 + 1; they are converted here.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnc_jax import config
from mnc_jax.model.backbones.features import make_backbone
from mnc_jax.model.stages.box_stage import propose_boxes
from mnc_jax.ops.anchors import make_anchors
from mnc_jax.ops.boxes import clip_boxes, decode_boxes
from mnc_jax.ops.masks import paste_masks, resize_masks
from mnc_jax.ops.nms import nms
from mnc_jax.ops.roi_warp import roi_warp
from mnc_jax.ops.sampling import top_indices
from mnc_jax.ops.voting import vote_masks
from mnc_jax.structs import AnchorOutput

RELEASE = config.release()
FAR_CORNER = np.array([[0, 0, 1, 1]], np.float32)


@pytest.fixture
def load(shared_dir):
  return lambda name: np.load(shared_dir / "reference" / "release" / f"{name}.npz")


@pytest.mark.parametrize("method", ["gather", "matmul"])
def test_roi_warping(load, method):
  data = load("roi_warping")
  stride = 1 / float(data["spatial_scale"])
  warped = roi_warp(jnp.asarray(data["features_chw"].transpose(1, 2, 0)), data["rois_xyxy"],
                    size=28, stride=stride, grid="caffe", method=method)
  np.testing.assert_allclose(warped.transpose(0, 3, 1, 2), data["output_nchw"], atol=1e-4)


def test_proposals(load):
  data = load("proposals")
  rows, columns = data["scores_hwa"].shape[:2]
  height, width = float(data["image_height"]), float(data["image_width"])
  anchors = make_anchors(rows, columns, stride=16, scales=(8, 16, 32), ratios=(0.5, 1, 2))
  decoded = decode_boxes(data["deltas_hwa4"].reshape(-1, 4), anchors.reshape(-1, 4))
  # The release clips at the last pixel's index, and then calls the corners inclusive.
  inclusive = clip_boxes(decoded, height - 1, width - 1)
  np.testing.assert_allclose(
      inclusive, data["decoded_clipped_inclusive"].reshape(-1, 4), atol=2e-3)
  boxes, scores = inclusive + FAR_CORNER, data["scores_hwa"].reshape(-1)
  sides = jnp.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
  best, found = top_indices(
      jnp.where(sides >= data["min_size"], scores, -jnp.inf), int(data["pre_nms"]))
  kept, valid = nms(boxes[best], scores[best], valid=found, max_outputs=int(data["post_nms"]),
                    iou_threshold=float(data["nms_threshold"]))
  assert valid.all()
  np.testing.assert_allclose(scores[best[kept]], data["out_scores"], atol=1e-6)
  np.testing.assert_allclose(inclusive[best[kept]], data["out_boxes_inclusive"], atol=2e-3)


@pytest.mark.parametrize("method", ["gather", "matmul"])
def test_roi_warping_in_a_larger_bucket(load, method):
  data, model = load("roi_warping"), RELEASE.model
  features = jnp.asarray(data["features_chw"].transpose(1, 2, 0))
  cells = features.shape[:2]
  assert cells == (38, 63) and model.partial_cells  # 600 x 1000 pixels, rounded up.
  warped = roi_warp(
      jnp.pad(features, ((0, 4), (0, 3), (0, 0))), data["rois_xyxy"], cells=jnp.asarray(cells),
      size=model.roi_size * model.roi_pool, stride=make_backbone(model).stride, grid=model.roi_grid,
      method=method)
  np.testing.assert_allclose(warped.transpose(0, 3, 1, 2), data["output_nchw"], atol=1e-4)


def test_proposals_of_the_preset(load):
  data, options = load("proposals"), RELEASE.inference
  rows, columns = data["scores_hwa"].shape[:2]
  anchors = make_anchors(rows, columns, stride=make_backbone(RELEASE.model).stride,
                         scales=RELEASE.model.anchor_scales, ratios=RELEASE.model.anchor_ratios)
  np.testing.assert_array_equal(anchors[0, 0] - FAR_CORNER, data["anchors_inclusive"])
  scores = data["scores_hwa"].reshape(-1)
  output = AnchorOutput(
      anchors.reshape(-1, 4), jnp.stack([jnp.log1p(-scores), jnp.log(scores)], axis=1),
      jnp.asarray(data["deltas_hwa4"].reshape(-1, 4)), jnp.ones(len(scores), bool))
  # The file was made for an image at scale 1 and with fewer boxes before the NMS.
  found = propose_boxes(
      output, jnp.array([data["image_height"], data["image_width"]], jnp.int32),
      config=dataclasses.replace(
          options.proposals, pre_nms=int(data["pre_nms"]), min_box_size=float(data["min_size"])),
      inclusive_corners=RELEASE.model.inclusive_corners)
  assert found.valid.all()
  np.testing.assert_allclose(found.boxes - FAR_CORNER, data["out_boxes_inclusive"], atol=2e-3)
  np.testing.assert_allclose(found.scores, data["out_scores"], atol=1e-6)


def test_masks_of_the_preset_are_resized_as_there(load):
  data, model = load("mask_resize"), RELEASE.model
  assert data["masks"].shape[1] == model.mask_size
  np.testing.assert_allclose(resize_masks(
      data["masks"], model.roi_size, method=model.mask_resize), data["output"], atol=1e-6)


def test_the_files_were_made_with_the_presets_numbers(load):
  model, options = RELEASE.model, RELEASE.inference
  proposals, voting = load("proposals"), load("mask_voting")
  assert int(proposals["post_nms"]) == options.proposals.num_proposals
  assert float(proposals["nms_threshold"]) == options.proposals.nms_iou
  # Pixels of the file there, of the network here, 1.6 times as large at VOC's usual size.
  assert float(proposals["min_size"]) * 1.6 == options.proposals.min_box_size
  assert float(voting["nms_threshold"]) == options.nms_iou
  assert float(voting["similar_iou"]) == options.similar_iou
  assert float(voting["binarize"]) == options.mask_threshold
  assert voting["masks"].shape[1] == model.mask_size
  assert float(load("roi_warping")["spatial_scale"]) == 1 / make_backbone(model).stride
  assert load("roi_warping")["output_nchw"].shape[2] == model.roi_size * model.roi_pool


def test_mask_voting(load):
  data = load("mask_voting")
  height, width = int(data["image_height"]), int(data["image_width"])
  vote = functools.partial(
      vote_masks, nms_iou=float(data["nms_threshold"]), similar_iou=float(data["similar_iou"]),
      max_instances=int(data["max_per_image"]), height=height, width=width,
      mask_threshold=float(data["binarize"]))
  found = jax.jit(vote)(data["masks"], data["boxes"] + FAR_CORNER, data["scores"])
  order = np.argsort(-data["out_score"], kind="stable")  # the release lists class by class
  np.testing.assert_array_equal(found.labels, data["out_class"][order])
  np.testing.assert_allclose(found.scores, data["out_score"][order], rtol=1e-6)
  got = np.asarray(paste_masks(found.masks, found.boxes, height, width)) > data["binarize"]
  want = data["out_soft_mask"][order] > data["binarize"]
  overlaps = np.sum(got & want, axis=(1, 2)) / np.sum(got | want, axis=(1, 2))
  assert overlaps.min() >= 0.9
  tight = data["out_tight_box_inclusive"][order] + FAR_CORNER
  np.testing.assert_allclose(found.boxes, tight, atol=1.6)
