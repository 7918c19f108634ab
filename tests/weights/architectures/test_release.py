"""Layers of the authors' release go to their paths, and faults are reported."""

import dataclasses

import numpy as np
import pytest

from helpers import release_files
from mnc_jax import config as presets
from mnc_jax.weights.architectures.release import PATHS, SHARED, match

MODEL = dataclasses.replace(presets.release().model, num_categories=3)
LAYERS = release_files.random_layers(backbone=2, dense=4, hidden=3, categories=3)


def arrays(**changed):
  """The file's arrays; `changed` by layer: both arrays, or None to leave them out."""
  found = release_files.named_arrays(LAYERS, repeat=changed.pop("repeat", False))
  for layer, pair in changed.items():
    for part in (0, 1):
      del found[f"{layer}/{part}"]
      if pair is not None:
        found[f"{layer}/{part}"] = pair[part]
  return found


def read(**changed):
  source = match(release_files.in_memory(arrays(**changed)), MODEL)
  for lazy in source.arrays.values():
    assert lazy.read().shape == tuple(lazy.shape)
  return source


def rejects(changed, *, match_error, **model):
  with pytest.raises(ValueError, match=match_error):
    match(release_files.in_memory(changed), dataclasses.replace(MODEL, **model))


def test_all_is_used_and_nothing_is_read_early():
  file = release_files.in_memory(arrays())
  source = match(file, MODEL)
  assert source.kind == "MNC, five stages (the authors' release)"
  assert source.unused == ()
  assert len(source.arrays) == 2 * 25 + 2
  assert file.reads == []
  source.arrays["box_stage/conv/kernel"].read()
  assert file.reads == ["rpn_conv_3x3/0"]


def test_the_mean_belongs_to_the_weights():
  np.testing.assert_allclose(read().arrays["features/pixel_mean"].read(),
                             [102.9801, 115.9465, 122.7717])


def test_kernels_are_turned_and_biases_kept():
  found = read().arrays
  weights, bias = LAYERS["conv2_1"]
  np.testing.assert_array_equal(found["features/conv2_1/kernel"].read()[1, 2, 0, 1],
                                weights[1, 0, 1, 2])
  np.testing.assert_array_equal(found["features/conv2_1/bias"].read(), bias)
  np.testing.assert_array_equal(found["category_stage/fc7/kernel"].read(), LAYERS["fc7"][0].T)
  np.testing.assert_array_equal(
      found["category_stage/box_category/bias"].read(), LAYERS["cls_score"][1])
  np.testing.assert_array_equal(
      found["category_stage/category/bias"].read(), LAYERS["seg_cls_score"][1])


@pytest.mark.parametrize("layer, path, side", [
    ("fc6_maskest", "mask_stage/reduce", 14), ("fc6_mask", "category_stage/fc6_mask", 7)])
def test_flattened_maps_have_their_channels_last(layer, path, side):
  kernel = read().arrays[f"{path}/kernel"].read()
  channel, row, column = 1, 2, 5
  np.testing.assert_array_equal(
      kernel[(row * side + column) * 2 + channel],
      LAYERS[layer][0][:, (channel * side + row) * side + column])


def test_background_and_object_of_an_anchor_come_together():
  found = read().arrays
  kernel, bias = (found[f"box_stage/objectness/{part}"].read() for part in ("kernel", "bias"))
  for anchor in (0, 4):
    for label in (0, 1):
      np.testing.assert_array_equal(bias[anchor * 2 + label],
                                    LAYERS["rpn_cls_score"][1][label * 9 + anchor])
      np.testing.assert_array_equal(kernel[0, 0, :, anchor * 2 + label],
                                    LAYERS["rpn_cls_score"][0][label * 9 + anchor, :, 0, 0])


def test_deltas_are_in_units_of_their_stds():
  found = read().arrays
  weights, bias = LAYERS["bbox_pred"]
  # Category 2's dx and dh.
  np.testing.assert_allclose(found["category_stage/box_deltas/bias"].read()[[8, 11]],
                             bias[[8, 11]] / [0.1, 0.2], rtol=1e-6)
  np.testing.assert_allclose(found["category_stage/box_deltas/kernel"].read()[:, 11],
                             weights[11] / 0.2, rtol=1e-6)


def test_other_files_are_not_the_release():
  vgg = {name: array for name, array in arrays().items() if name.startswith(("conv", "fc6/"))}
  assert match(release_files.in_memory(vgg), MODEL) is None


def test_missing_layers_are_named():
  rejects(arrays(conv4_2=None, fc7_mask=None), match_error=(
      "release.caffemodel.h5 lacks 4 of the 50 arrays of MNC.*: "
      "conv4_2/0, conv4_2/1, fc7_mask/0, fc7_mask/1"))


@pytest.mark.parametrize("layer, shape", [
    ("conv3_1", (2, 3, 3, 3)), ("rpn_bbox_pred", (35, 2, 1, 1)), ("fc6", (4, 2 * 49 + 1)),
    ("fc7_mask", (4, 5)), ("seg_cls_score", (4, 8)), ("bbox_pred", (11, 8)),
    ("mask_pred", (441, 4)), ("cls_score", (3,))])
def test_a_layer_that_does_not_fit_the_others_is_named_with_both_shapes(layer, shape):
  changed = {layer: (np.zeros(shape, np.float32), np.zeros(shape[0], np.float32))}
  right = str(LAYERS[layer][0].shape)
  # If outputs are changed, the layer after it may be the one that does not fit.
  rejects(arrays(**changed), match_error=rf"has {layer}/0 with shape .*{right[1:-1]}")


def test_a_bias_of_another_length_is_named():
  changed = {"fc6": (LAYERS["fc6"][0], np.zeros(5, np.float32))}
  rejects(arrays(**changed), match_error=r"has fc6/1 with shape \(5,\), .* shape \(4,\)")


@pytest.mark.parametrize("model, message", [
    ({"mask_size": 28}, r"mask_pred predicts 441 pixels \(21 x 21\), but model.mask_size is 28"),
    ({"anchor_scales": (8.0,)}, "scores 9 anchors per cell, but .* make 3"),
    ({"anchor_scales": (1.0, 2.0, 4.0)}, "mean model.anchor_scales .8.0, 16.0, 32.0., found"),
    ({"roi_grid": "center"}, "weights mean model.roi_grid caffe, found center"),
    ({"mask_resize": "mean"}, "weights mean model.mask_resize bilinear, found mean"),
    ({"backbone": "small"}, "needs model.backbone 'vgg16', found 'small'"),
    ({"mask_head": "conv"}, "needs model.mask_head 'dense'"),
    ({"normalize": True}, "needs model.normalize False, found True"),
    ({"share_features": False}, "needs model.share_features True")])
def test_a_model_of_other_layers_is_advised(model, message):
  rejects(arrays(), match_error=f"{message}.*: use voc_vgg16_release", **model)


def test_another_roi_size_is_named():
  rejects(arrays(), match_error=r"fc6_maskest/0 .* model.roi_size 7, .*\(3, 98\)", roi_size=7)


def test_repeated_layers_are_compared_when_read_and_not_unused():
  assert read(repeat=True).unused == ()
  for layer in SHARED:
    for part in (0, 1):
      changed = arrays(repeat=True)
      changed[f"{layer}_ext/{part}"].flat[-1] += 1
      found = match(release_files.in_memory(changed), MODEL).arrays
      lazy = found[f"{PATHS[layer]}/{'bias' if part else 'kernel'}"]
      with pytest.raises(ValueError, match=f"h5: {layer}_ext/{part} differs from {layer}/{part}"):
        lazy.read()


def test_a_repeated_layer_of_another_shape_is_named():
  changed = arrays(repeat=True)
  changed["fc7_ext/0"] = np.zeros((4, 5), np.float32)
  rejects(changed, match_error=r"fc7_ext/0 with shape \(4, 5\), .* fc7/0 with shape \(4, 4\)")


def test_the_backbone_alone_fits_any_model_of_vgg16():
  model = dataclasses.replace(presets.paper().model, mask_head="conv", roi_size=7, pyramid_stride=8)
  alone = {name: array for name, array in arrays().items()
           if name.startswith("conv") or name == "mask_pred/0"}
  for content in (arrays(), alone):
    source = match(release_files.in_memory(content), model, only_backbone=True)
    assert len(source.arrays) == 2 * 13 + 2
    assert not source.whole_stages
    assert "mask_pred/0" in source.unused
    np.testing.assert_allclose(source.arrays["features/pixel_mean"].read(),
                               [102.9801, 115.9465, 122.7717])
    np.testing.assert_array_equal(source.arrays["features/conv2_1/bias"].read(),
                                  LAYERS["conv2_1"][1])
  small = dataclasses.replace(model, backbone="small")
  with pytest.raises(ValueError, match="needs model.backbone 'vgg16', found 'small'"):
    match(release_files.in_memory(alone), small, only_backbone=True)
  wrong = {"conv3_1": (np.zeros((2, 3, 3, 3), np.float32), np.zeros(2, np.float32))}
  with pytest.raises(ValueError, match=r"has conv3_1/0 with shape \(2, 3, 3, 3\)"):
    match(release_files.in_memory(arrays(**wrong)), model, only_backbone=True)


def test_unknown_layers_are_unused():
  file = release_files.in_memory(arrays() | {"fc8/0": np.zeros((2, 2), np.float32)})
  assert match(file, MODEL).unused == ("fc8/0",)
