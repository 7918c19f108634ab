"""ResNets of torchvision and timm: each array at its path, and each message of what is rejected."""

from flax import traverse_util
import jax
import numpy as np
import pytest

from helpers import tiny, torch_names
from mnc_jax.model.parameters import init_params
from mnc_jax.weights.architectures import resnet

WIDTH = 8


def config_of(**fields):
  return tiny.tiny_config(
      model={"backbone": "resnet26", "resnet_width": WIDTH, "frozen_blocks": 0} | fields)


def match(arrays, **fields):
  return resnet.match(torch_names.as_file(arrays), config_of(**fields).model)


def arrays_of(backbone="resnet26", *, without="none", **changes):
  arrays = torch_names.resnet_arrays(backbone, width=WIDTH)
  kept = {name: array for name, array in arrays.items() if not name.startswith(without)}
  return kept | {name.replace("__", "."): array for name, array in changes.items()}


def test_every_array_of_backbone_and_head_has_its_path_and_shape():
  source = match(arrays_of())
  shapes = jax.eval_shape(lambda: init_params(jax.random.key(0), config_of()))
  wanted = {path: leaf.shape for path, leaf in traverse_util.flatten_dict(shapes, sep="/").items()
            if path.startswith(("features/", "category_stage/conv5"))}
  assert {path: array.shape for path, array in source.arrays.items()} == wanted
  read = {path: array.read() for path, array in source.arrays.items()}
  assert {path: array.shape for path, array in read.items()} == wanted
  assert {array.dtype for array in read.values()} == {np.dtype("float32")}
  assert source.kind == "ResNet-26 (torchvision or timm)"
  assert source.pixels == "RGB, 0 to 1, ImageNet mean and deviation"
  assert source.unused == ("fc.bias", "fc.weight")


def test_conv5_is_unused_where_stage_3_has_none():
  source = match(arrays_of(), pyramid_stride=8, pyramid_width=4)
  shapes = jax.eval_shape(lambda: init_params(
      jax.random.key(0), config_of(pyramid_stride=8, pyramid_width=4)))
  wanted = {path: leaf.shape for path, leaf in traverse_util.flatten_dict(shapes, sep="/").items()
            if path.startswith("features/") and not path.startswith("features/top_down")}
  assert {path: array.shape for path, array in source.arrays.items()} == wanted
  assert "layer4.1.conv3.weight" in source.unused and "layer3.1.conv3.weight" not in source.unused


def test_folding_by_hand():
  parts = {"weight": 3.0, "bias": 0.5, "running_mean": 2.0, "running_var": 4.0 - 1e-5}
  kernel = np.zeros((WIDTH, 3, 7, 7), np.float32)
  kernel[5, 0, 1, 2] = 1.0  # reads red
  source = match(arrays_of() | {"conv1.weight": kernel} | {
      f"bn1.{part}": np.full(WIDTH, value, np.float32) for part, value in parts.items()})
  read = lambda path: source.arrays[f"features/{path}"].read()
  np.testing.assert_allclose(read("bn1/scale"), np.full(WIDTH, 1.5), rtol=1e-6)
  np.testing.assert_allclose(read("bn1/bias"), np.full(WIDTH, 0.5 - 2 * 1.5), rtol=1e-6)
  assert read("conv1/kernel")[1, 2, 2, 5] == 1.0
  assert np.count_nonzero(read("conv1/kernel")) == 1
  np.testing.assert_allclose(read("pixel_mean"), (103.53, 116.28, 123.675), rtol=1e-6)
  np.testing.assert_allclose(read("pixel_scale")[2], 1 / (255 * 0.229), rtol=1e-6)


def test_both_paths_of_stage_3_share_what_is_read():
  arrays = match(arrays_of()).arrays
  for path in ("layer4_0/conv_down/kernel", "layer4_1/bn3/scale"):
    assert arrays[f"category_stage/conv5/{path}"] is arrays[f"category_stage/conv5_mask/{path}"]


def test_other_files_are_not_matched():
  assert match({"features.0.weight": np.zeros((64, 3, 3, 3))}) is None


BASIC = {f"layer{number}.{index}.conv{n}.weight": np.zeros((8, 8, 3, 3))
         for number in range(1, 5) for index in range(2) for n in (1, 2)}


@pytest.mark.parametrize(("arrays", "fields", "message"), [
    (BASIC, {}, "weights.pth holds ResNet-18, made of basic blocks"),
    (arrays_of(conv1__0__weight=np.zeros((8, 3, 3, 3))), {}, "ResNet-26 with a stem of several"),
    (arrays_of(layer1__0__conv2__weight=np.zeros((8, 2, 3, 3))), {},
     r"ResNet-26 with grouped convolutions \(ResNeXt\).*\(8, 2, 3, 3\)"),
    (arrays_of(layer1__0__conv1__weight=np.zeros((16, 8, 1, 1))), {},
     "a wide ResNet-26: 16 channels .* a plain ResNet has 8"),
    (arrays_of("resnet50"), {}, 'ResNet-50, but model.backbone is "resnet26".* to "resnet50"'),
    (arrays_of(), {"backbone": "vgg16"}, 'ResNet-26, but model.backbone is "vgg16".*"resnet26"'),
    (arrays_of(layer3__35__conv3__weight=np.zeros(1)), {},
     r"a ResNet of 2 \+ 2 \+ 36 \+ 2 blocks, which is no .* resnet26, resnet50, resnet101"),
    (arrays_of(), {"backbone_norm": "group"}, 'backbone_norm is "group".*"frozen_batch".*empty'),
    ({name: array for name, array in arrays_of().items() if "running" not in name}, {},
     "ResNet-26 without means and variances of batch"),
    (arrays_of(without="layer2.0.bn2"), {},
     r"lacks 4 of the 145 arrays of ResNet-26: layer2.0.bn2.bias, layer2.0.bn2.running_mean"),
    (arrays_of(layer4__1__se__fc1__weight=np.zeros(1)), {},
     "no plain ResNet-26: its layers also have layer4.1.se.fc1.weight"),
    (arrays_of(layer2__1__bn2__running_mean=np.zeros(3)), {},
     r"layer2.1.bn2 differ in shape: .*'running_mean': \(3,\)"),
    (arrays_of(layer2__1__conv2__weight=np.zeros(3)), {},
     r"layer2.1.conv2.weight has shape \(3,\); a kernel has four axes"),
    (arrays_of(conv1__weight=np.zeros((8, 1, 7, 7))), {}, r"3 channels, not 1"),
])
def test_what_does_not_fit_is_named(arrays, fields, message):
  with pytest.raises(ValueError, match=message):
    match(arrays, **fields)
