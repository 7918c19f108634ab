"""VGG-16 out of every library's files: where each number goes, what is rejected."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from helpers import vgg_files
from mnc_jax import weights
from mnc_jax.config import Config, ModelConfig
from mnc_jax.model.backbones.vgg16 import VGG16
from mnc_jax.model.parameters import init_params
from mnc_jax.model.stages import category_stage

MODEL = ModelConfig(num_categories=3, dense_width=vgg_files.WIDTH, mask_hidden=8, mask_size=5,
                    box_stage_width=8)
# Published: gist.github.com/ksimonyan/211839e770f7b538e2d8; torchvision's and timm's defaults.
OXFORD_MEAN = (103.939, 116.779, 123.68)
UNIT_MEAN, UNIT_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def write_torch(path, layers, **options):
  torch = pytest.importorskip("torch", reason="PyTorch is not installed")
  arrays = vgg_files.torch_arrays(layers)
  torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path, **options)


SOURCES = {
    "NumPy": vgg_files.write_npz,
    "Keras": vgg_files.write_keras,
    "timm": functools.partial(vgg_files.write_safetensors, timm=True),
    "torchvision": write_torch,
    "torchvision, before 1.6": functools.partial(
        write_torch, _use_new_zipfile_serialization=False),
    "Caffe": vgg_files.write_caffemodel,
    "Caffe of 2014": functools.partial(vgg_files.write_caffemodel, old=True),
    "Caffe, HDF5": vgg_files.write_caffe_hdf5,
}


@pytest.fixture(scope="module")
def layers():
  return vgg_files.make_layers()


@functools.cache
def shapes(model=MODEL):
  return jax.eval_shape(lambda: init_params(jax.random.key(0), Config(model=model)))


def load(path, **options):
  return weights.load_pretrained(shapes(), path, config=MODEL, **options)


@pytest.fixture(scope="module", params=SOURCES)
def loaded(request, layers, tmp_path_factory):
  """Each source, loaded: (its name, params, report)."""
  # The name of the file means nothing.
  path = tmp_path_factory.mktemp("weights") / "weights.bin"
  SOURCES[request.param](path, layers)
  params, report = load(path)
  path.unlink()
  return request.param, params, report


def test_every_convolution_goes_to_its_path(loaded, layers):
  source, params, _ = loaded
  for name, (kernel, bias) in layers.items():
    if name.startswith("conv") and not (name == "conv1_1" and source[0] == "t"):
      found = params["features"][name]
      assert found["kernel"].dtype == np.float32
      np.testing.assert_array_equal(found["kernel"], kernel.transpose(2, 3, 1, 0))
      np.testing.assert_array_equal(found["bias"], bias)


@jax.jit
def first_layer(params, pixels):
  """Returns the output of the backbone's first convolution."""
  _, state = VGG16(MODEL).apply(
      {"params": params}, pixels, jnp.array([[16, 16]]), capture_intermediates=True)
  return state["intermediates"]["conv1_1"]["__call__"][0]


def test_the_first_layer_gets_pixels_as_in_its_training(loaded, layers):
  source, params, _ = loaded
  pixels = np.random.default_rng(1).integers(0, 256, (1, 16, 16, 3)).astype(np.uint8)
  if source[0] == "t":
    expected_input = (pixels / 255.0 - UNIT_MEAN) / UNIT_STD
  else:
    expected_input = pixels[..., ::-1] - np.array(OXFORD_MEAN)
  kernel, bias = layers["conv1_1"]
  expected = jax.lax.conv_general_dilated(
      jnp.asarray(expected_input.transpose(0, 3, 1, 2), jnp.float32), kernel, (1, 1), "SAME",
      dimension_numbers=("NCHW", "OIHW", "NCHW")) + bias.reshape(1, -1, 1, 1)
  found = first_layer(params["features"], pixels)
  scale = float(jnp.abs(expected).max())
  np.testing.assert_allclose(found.transpose(0, 3, 1, 2) / scale, expected / scale, atol=2e-6)


def test_the_mean_comes_with_the_weights(loaded):
  source, params, _ = loaded
  expected = 255 * UNIT_MEAN[::-1] if source[0] == "t" else OXFORD_MEAN
  np.testing.assert_allclose(params["features"]["pixel_mean"], expected, rtol=1e-6)
  scale = 1 / (255 * UNIT_STD[::-1]) if source[0] == "t" else np.ones(3)
  np.testing.assert_allclose(params["features"]["pixel_scale"], scale, rtol=1e-6)


def test_dense_layers_begin_both_paths(loaded, layers):
  _, params, _ = loaded
  stage = params["category_stage"]
  for path in ("", "_mask"):
    for name in ("fc6", "fc7"):
      np.testing.assert_array_equal(stage[name + path]["bias"], layers[name][1])
    np.testing.assert_array_equal(stage[f"fc7{path}"]["kernel"], layers["fc7"][0].T)


def test_fc6_gets_the_map_as_it_was_flattened_there(loaded, layers):
  _, params, _ = loaded
  maps = np.random.default_rng(2).standard_normal((2, 512, 7, 7), np.float32)  # Channels first.
  expected = maps.reshape(2, -1) @ layers["fc6"][0].T + layers["fc6"][1]
  ours = {**params["category_stage"]}
  # The stage itself, with 14 x 14 features that pool to these; fc7 and classifiers are replaced.
  wide = maps.transpose(0, 2, 3, 1).repeat(2, axis=1).repeat(2, axis=2)
  eye = {"kernel": np.eye(vgg_files.WIDTH, dtype=np.float32), "bias": np.float32(
      np.zeros(vgg_files.WIDTH))}
  for name in ("fc7", "fc7_mask"):
    ours[name] = eye
  pick = np.zeros((2 * vgg_files.WIDTH, 3), np.float32)
  pick[[0, 1, vgg_files.WIDTH + 2], [0, 1, 2]] = 1  # Two of the mask path, one of the box path.
  ours["category"] = {"kernel": pick, "bias": np.zeros(3, np.float32)}
  for name, outputs in (("box_category", 3), ("box_deltas", 12)):
    ours[name] = {"kernel": np.zeros((2 * vgg_files.WIDTH, outputs), np.float32),
                  "bias": np.zeros(outputs, np.float32)}
  found, _, _ = category_stage.CategoryStage(MODEL).apply({"params": ours}, wide, wide)
  np.testing.assert_allclose(found, np.maximum(expected[:, :3], 0), rtol=1e-4, atol=1e-2)


def test_the_report_names_kind_and_unused(loaded):
  source, params, report = loaded
  assert report.kind == f"VGG-16 ({source.split(',')[0].removesuffix(' of 2014')})"
  assert len(report.loaded) == 2 + 26 + 8
  assert all(name.startswith(("box_stage/", "mask_stage/", "category_stage/"))
             for name in report.initialised)
  assert len(report.unused) == 2
  assert isinstance(params["category_stage"]["category"]["kernel"], jax.ShapeDtypeStruct)
  assert str(report).startswith(
      f"{report.kind}: 36 arrays loaded, {len(report.initialised)} newly initialised (box_stage, "
      "category_stage, mask_stage), 2 of the file unused (")
  assert str(report).endswith(
      "; pixels: RGB, 0 to 1, ImageNet mean and deviation" if source[0] == "t" else
      "; pixels: BGR, 0 to 255, ImageNet mean")


def test_both_paths_share_what_was_read_once(loaded):
  _, params, _ = loaded
  stage = params["category_stage"]
  assert stage["fc6"]["kernel"] is stage["fc6_mask"]["kernel"]


# Spellings of Keras 1, of a whole model, of Keras 3, and of Keras 3 that numbers layers.
def _numbered(layer, part):
  kinds = {"predictions": ("dense", 2), "fc1": ("dense", 0), "fc2": ("dense", 1)}
  kind, number = kinds.get(layer) or (
      "conv2d", vgg_files.LAYERS.index((int(layer[5]), int(layer[11]))))
  return f"layers/{kind}{f'_{number}' if number else ''}/vars/{int(part == 'bias')}"


@pytest.mark.parametrize("spell", [
    lambda layer, part: f"{layer}/{layer}_{'W' if part == 'kernel' else 'b'}_1:0",
    lambda layer, part: f"model_weights/{layer}/{layer}/{part}",
    lambda layer, part: f"layers/{layer}/vars/{int(part == 'bias')}",
    _numbered], ids=["keras 1", "whole model", "keras 3", "keras 3, numbered"])
def test_other_spellings_of_keras(tmp_path, spell):
  layers = vgg_files.make_layers()
  vgg_files.write_hdf5(tmp_path / "x", vgg_files.keras_arrays(layers, spell))
  source = weights.match_file(weights.open_file(tmp_path / "x"), MODEL)
  assert source.kind == "VGG-16 (Keras)"
  assert len(source.arrays) == 36
  for name in ("conv4_2", "fc7"):
    path = f"features/{name}" if name[0] == "c" else f"category_stage/{name}"
    np.testing.assert_array_equal(source.arrays[f"{path}/kernel"].read(),
                                  vgg_files.channels_last(name, layers[name][0]))
    np.testing.assert_array_equal(source.arrays[f"{path}/bias"].read(), layers[name][1])


def test_moments_of_an_optimizer_are_not_mistaken_for_weights(tmp_path):
  # As a Keras model that was saved with its optimizer has them, after the weights.
  layers = vgg_files.make_layers()
  arrays = vgg_files.keras_arrays(
      layers, lambda layer, part: f"model_weights/{layer}/{layer}/{part}:0")
  moments = {name.replace("model_weights", "optimizer_weights/Adam/m"): array + 1
             for name, array in arrays.items()}
  vgg_files.write_hdf5(tmp_path / "x", arrays | moments)
  source = weights.match_file(weights.open_file(tmp_path / "x"), MODEL)
  np.testing.assert_array_equal(
      source.arrays["features/conv4_2/bias"].read(), layers["conv4_2"][1])


@pytest.mark.parametrize("spell, message", [
    (lambda layer, part: f"{layer}/{part}:0",
     "has b/block1_conv1/bias:0 and c/block1_conv1/bias:0: of which network"),
    (_numbered, "has b/layers/conv2d/vars/0 and c/layers/conv2d/vars/0: of which network")])
def test_two_networks_in_a_file_of_keras_are_named(tmp_path, spell, message):
  arrays = vgg_files.keras_arrays(thin(), spell)
  vgg_files.write_hdf5(tmp_path / "x", {f"{top}/{name}": array for top in "bc"
                                        for name, array in arrays.items()})
  rejects(tmp_path / "x", message)


def thin(convolutions=vgg_files.LAYERS):
  """Layers of two channels: rejected for their shape at the latest."""
  return {name: arrays for name, arrays in vgg_files.make_layers(
      convolutions, channels=(3, 2, 2, 2, 2, 2)).items() if name.startswith("conv")}


def rejects(path, message, *, config=MODEL, **options):
  with pytest.raises(ValueError, match=message):
    weights.load_pretrained(shapes(), path, config=config, **options)


def test_missing_layers_are_named(tmp_path):
  layers = thin()
  arrays = vgg_files.numpy_arrays(layers)
  del arrays["block3_conv2_W"], arrays["block5_conv3_b"]
  np.savez(tmp_path / "a.npz", **arrays)
  rejects(tmp_path / "a.npz", r"a.npz lacks 2 of the 26 arrays of VGG-16's convolutions \(NumPy\): "
          r"block3_conv2, block5_conv3 \(bias\)")
  arrays = vgg_files.torch_arrays(layers)
  del arrays["features.12.weight"]
  save_file(arrays, tmp_path / "b")
  rejects(tmp_path / "b", r"b lacks 1 of .* \(torchvision or timm\): features.12.weight")
  vgg_files.write_caffemodel(
      tmp_path / "c", {name: pair for name, pair in layers.items() if name != "conv4_1"})
  rejects(tmp_path / "c", r"c lacks 2 of the 26 .* \(Caffe\): conv4_1/0, conv4_1/1")


def test_an_extra_layer_is_named(tmp_path):
  vgg_files.write_caffemodel(tmp_path / "c", thin([*vgg_files.LAYERS, (5, 4)]))
  rejects(tmp_path / "c", r"c has convolutions that VGG-16 \(Caffe\) does not have: conv5_4/0")


def test_a_wrong_shape_is_named_with_both(tmp_path):
  vgg_files.write_safetensors(tmp_path / "a", vgg_files.make_layers(channels=(3, 2, 2, 2, 2, 2)))
  rejects(tmp_path / "a", r"a has features.0.weight with shape \(2, 3, 3, 3\), but in VGG-16 "
          r"\(torchvision\) it has shape \(64, 3, 3, 3\)")
  # Keras with Theano's order of axes.
  arrays = vgg_files.numpy_arrays(vgg_files.make_layers())
  arrays["block1_conv1_W"] = arrays["block1_conv1_W"].transpose(3, 2, 0, 1)
  np.savez(tmp_path / "b", **arrays)
  rejects(tmp_path / "b.npz", r"block1_conv1_W with shape \(64, 3, 3, 3\).* shape \(3, 3, 3, 64\)")


@pytest.mark.parametrize("depth, number", [
    ((1, 1, 2, 2, 2), 11), ((2, 2, 2, 2, 2), 13), ((2, 2, 4, 4, 4), 19)])
def test_other_depths_are_named(tmp_path, depth, number):
  layers = [(block, layer) for block, count in enumerate(depth, start=1)
            for layer in range(1, count + 1)]
  vgg_files.write_npz(tmp_path / "x.npz", thin(layers))
  rejects(tmp_path / "x.npz", rf"holds VGG-{number} \(NumPy\), but the backbone is VGG-16")


def test_vgg19_of_torchvision_is_named(tmp_path):
  # torchvision.models.vgg19().features.
  numbers = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
  save_file({f"features.{number}.weight": np.zeros((1, 1, 3, 3), np.float32)
             for number in numbers}, tmp_path / "x")
  rejects(tmp_path / "x", r"holds VGG-19 \(torchvision or timm\)")


def test_batch_norm_is_named(tmp_path):
  arrays = vgg_files.torch_arrays(thin())
  arrays |= {f"features.1.{part}": np.zeros(2, np.float32)
             for part in ("weight", "bias", "running_mean", "running_var")}
  save_file(arrays, tmp_path / "x")
  rejects(tmp_path / "x", "holds a VGG with batch norm .* use vgg16, not vgg16_bn")


def test_another_backbone_is_rejected(tmp_path):
  vgg_files.write_npz(tmp_path / "x.npz", thin())
  rejects(tmp_path / "x.npz", r'holds VGG-16 \(NumPy\), but model.backbone is "small": .*"vgg',
          config=ModelConfig(num_categories=3, backbone="small"))


def test_a_resnet_is_named(tmp_path):
  save_file({"conv1.weight": np.zeros((64, 3, 7, 7), np.float32),
             "res2a_branch2a.weight": np.zeros((64, 64, 1, 1), np.float32)}, tmp_path / "x")
  rejects(tmp_path / "x", 'holds a ResNet of Caffe or Keras, which cannot be read')


@pytest.fixture(scope="module")
def wide_file(layers, tmp_path_factory):
  """Dense layers of another width than the model's."""
  path = tmp_path_factory.mktemp("wide") / "x"
  vgg_files.write_caffe_hdf5(path, layers | {
      "fc6": (np.zeros((16, 512, 3, 3), np.float32), np.zeros(16, np.float32))})
  return path


def test_dense_layers_that_do_not_fit_are_reported(wide_file):
  rejects(wide_file, r"category_stage/fc6/kernel with shape \(4608, 16\), but the model's has "
          r"shape \(25088, 8\). .*model.dense_width 4096 and model.roi_size 14.* --only-backbone")


def test_dense_layers_are_unused_where_features_are_not_conv5_3(wide_file):
  model = dataclasses.replace(MODEL, pyramid_stride=8, pyramid_width=4)
  _, report = weights.load_pretrained(shapes(model), wide_file, config=model)
  assert len(report.loaded) == 28
  assert {"fc6/0", "fc6/1"} <= set(report.unused)


def test_the_backbone_alone_can_be_loaded(wide_file, layers):
  params, report = load(wide_file, only_backbone=True)
  assert len(report.loaded) == 28
  assert "category_stage/fc6/kernel" in report.initialised
  assert "category_stage/fc6/kernel" in report.unused
  assert "fc8/0" in report.unused
  np.testing.assert_array_equal(params["features"]["conv5_3"]["bias"], layers["conv5_3"][1])


@pytest.mark.parametrize("options", [{}, {"only_backbone": True}])
def test_a_classifier_of_nan_means_pixels_of_another_scale(tmp_path, layers, options):
  # torchvision's IMAGENET1K_FEATURES: mean .48235 .45882 .40784, deviation 1 / 255.
  nan = {name: tuple(np.full_like(array, np.nan) for array in layers[name])
         for name in ("fc6", "fc7", "fc8")}
  vgg_files.write_safetensors(tmp_path / "x", layers | nan)
  params, report = load(tmp_path / "x", **options)
  np.testing.assert_allclose(
      params["features"]["pixel_mean"], (104, 117, 123), atol=1e-3)
  np.testing.assert_array_equal(params["features"]["pixel_scale"], np.ones(3))
  # It reads red first.
  np.testing.assert_array_equal(params["features"]["conv1_1"]["kernel"][:, :, 2],
                                layers["conv1_1"][0][:, 0].transpose(1, 2, 0))
  assert len(report.loaded) == 28
  assert {"classifier.0.weight", "classifier.3.bias"} <= set(report.unused)
  assert str(report).endswith(
      "; pixels: RGB, 0 to 255, ImageNet mean (torchvision's IMAGENET1K_FEATURES)")


def test_a_dense_layer_without_bias_is_reported(tmp_path, layers):
  arrays = vgg_files.torch_arrays(layers)
  del arrays["classifier.3.bias"]
  save_file(arrays, tmp_path / "x")
  rejects(tmp_path / "x", r"has classifier.3.weight \(torchvision\) but lacks classifier.3.bias")


def test_the_oxford_weights_are_read(shared_dir):
  _, report = load(shared_dir / "weights" / "vgg16_imagenet_conv.npz")
  assert len(report.loaded) == 28
  file = weights.open_file(shared_dir / "weights" / "vgg16_imagenet_conv.npz")
  kernel = weights.match_file(file, MODEL).arrays["features/conv1_1/kernel"].read()
  # Known: the first weight of the first filter, for blue.
  assert kernel[0, 0, 0, 0] == pytest.approx(0.42947057)
