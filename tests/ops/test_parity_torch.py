"""Backbones and the ResNets' RoI head agree with PyTorch on the same random weights and images.

What PyTorch computes is written here from the published architectures, in float64.
"""

import functools

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import torch_names
from mnc_jax.config import ModelConfig
from mnc_jax.model.backbones import features
from mnc_jax.model.stages import category_stage
from mnc_jax.weights.architectures.resnet import match

torch = pytest.importorskip(
    "torch", reason="needs PyTorch: pip install mnc_jax[parity]", exc_type=ImportError)
F = torch.nn.functional

HEIGHT, WIDTH = 64, 96
IMAGES = np.random.default_rng(1).integers(0, 256, (1, HEIGHT, WIDTH, 3)).astype(np.uint8)
BOUND = 1e-5
VGG_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def relative_error(ours, theirs):
  """Largest difference over the largest value; theirs is [N, K, ...], ours has K last."""
  theirs = np.moveaxis(theirs.numpy(), 1, -1)
  assert ours.shape == theirs.shape
  assert 0.1 < np.abs(theirs).max() < 1e4
  return np.abs(np.asarray(ours, np.float64) - theirs).max() / np.abs(theirs).max()


def our_features(params, config):
  extract = jax.jit(functools.partial(features.extract_features, config=config))
  return extract(params, IMAGES, jnp.array([[HEIGHT, WIDTH]]))


def torch_images():
  return torch.from_numpy(IMAGES).double().permute(0, 3, 1, 2)


# ResNets: the layers of torchvision's resnet.py, version 1.5.


def conv_norm(state, x, conv, norm, *, stride=1):
  kernel = state[f"{conv}.weight"]
  x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
  return F.batch_norm(x, state[f"{norm}.running_mean"], state[f"{norm}.running_var"],
                      state[f"{norm}.weight"], state[f"{norm}.bias"], training=False, eps=1e-5)


def torch_layer(state, x, number, depth):
  for index in range(depth):
    block, stride = f"layer{number}.{index}", 2 if number > 1 and index == 0 else 1
    y = F.relu(conv_norm(state, x, f"{block}.conv1", f"{block}.bn1"))
    y = F.relu(conv_norm(state, y, f"{block}.conv2", f"{block}.bn2", stride=stride))
    y = conv_norm(state, y, f"{block}.conv3", f"{block}.bn3")
    if index == 0:
      x = conv_norm(state, x, f"{block}.downsample.0", f"{block}.downsample.1", stride=stride)
    x = F.relu(x + y)
  return x


def torch_c4(state, depths):
  mean, std = (torch.tensor(value, dtype=torch.float64).reshape(1, 3, 1, 1)
               for value in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
  x = (torch_images() / 255 - mean) / std
  x = F.max_pool2d(F.relu(conv_norm(state, x, "conv1", "bn1", stride=2)), 3, stride=2, padding=1)
  for number in (1, 2, 3):
    x = torch_layer(state, x, number, depths[number - 1])
  return x


@functools.lru_cache(maxsize=1)  # Each is some 600 MB.
def resnet(backbone):
  """Returns the config, our parameters by way of `match`, and the state for PyTorch."""
  config = ModelConfig(backbone=backbone, num_categories=5)
  arrays = torch_names.resnet_arrays(backbone)
  source = match(torch_names.as_file(arrays), config)
  params = {path: jnp.asarray(array.read()) for path, array in source.arrays.items()}
  state = {name: torch.from_numpy(array).double() for name, array in arrays.items()}
  return config, traverse_util.unflatten_dict(params, sep="/"), state


@pytest.mark.parametrize("backbone", ["resnet101", "resnet50"])
def test_resnet_features_agree(backbone):
  config, params, state = resnet(backbone)
  ours = our_features(params["features"], config)
  assert relative_error(ours, torch_c4(state, torch_names.DEPTHS[backbone])) < BOUND


def test_resnet_head_of_each_roi_agrees():
  config, params, state = resnet("resnet50")
  rng = np.random.default_rng(2)
  rois = rng.standard_normal((2, 14, 14, 1024)).clip(0).astype(np.float32)
  mask_logits = rng.standard_normal((2, 14, 14)).astype(np.float32)
  classifiers = {name: rng.standard_normal((4096, outputs), dtype=np.float32) / 64
                 for name, outputs in (("category", 5), ("box_category", 5), ("box_deltas", 20))}
  heads = {name: {"kernel": kernel, "bias": np.zeros(kernel.shape[1], np.float32)}
           for name, kernel in classifiers.items()}
  predict = jax.jit(functools.partial(category_stage.predict_categories, config=config))
  ours = predict(params["category_stage"] | heads, rois, mask_logits)
  x = torch.from_numpy(rois).double().permute(0, 3, 1, 2)
  masks = torch.from_numpy(mask_logits).double().sigmoid()[:, None]
  paths = [torch_layer(state, path, 4, 3).mean((2, 3)) for path in (x * masks, x)]
  joined = torch.cat(paths, 1)
  for found, kernel in zip(ours, classifiers.values(), strict=True):
    assert relative_error(found.reshape(2, -1), joined @ torch.from_numpy(kernel).double()) < BOUND


def test_vgg16_features_agree():
  config = ModelConfig(backbone="vgg16")
  rng, x, params, inputs = np.random.default_rng(3), torch_images().flip(1), {}, 3
  x = x - torch.tensor(config.pixel_mean_bgr, dtype=torch.float64).reshape(1, 3, 1, 1)
  for block, (channels, depth) in enumerate(VGG_BLOCKS, start=1):
    x = F.max_pool2d(x, 2) if block > 1 else x
    for layer in range(1, depth + 1):
      # The first layer also brings 0 ... 255 down to numbers near one.
      spread = np.float32(np.sqrt(2 / (9 * inputs)) / (64 if inputs == 3 else 1))
      kernel = spread * rng.standard_normal((channels, inputs, 3, 3), dtype=np.float32)
      bias = rng.uniform(-0.3, 0.3, channels).astype(np.float32)
      params[f"conv{block}_{layer}"] = {"kernel": kernel.transpose(2, 3, 1, 0), "bias": bias}
      x = F.relu(F.conv2d(x, *(torch.from_numpy(a).double() for a in (kernel, bias)), padding=1))
      inputs = channels
  params["pixel_mean"] = np.asarray(config.pixel_mean_bgr, np.float32)
  params["pixel_scale"] = np.ones(3, np.float32)
  assert relative_error(our_features(params, config), x) < BOUND
