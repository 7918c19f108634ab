"""Files of ResNet weights as torchvision and timm name them, filled with random numbers."""

from types import SimpleNamespace

import numpy as np

from mnc_jax.weights import Lazy

DEPTHS = {"resnet26": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


def resnet_arrays(backbone, *, width=64, seed=0):
  """Returns {name: array}: He's kernels, and batch norms whose four parts all matter."""
  rng, arrays = np.random.default_rng(seed), {}

  def conv_norm(conv, norm, outputs, inputs, kernel, gain=1.0):
    spread = np.float32(np.sqrt(2 / (inputs * kernel**2)))
    arrays[f"{conv}.weight"] = spread * rng.standard_normal(
        (outputs, inputs, kernel, kernel), dtype=np.float32)
    for part, low, high in (("weight", 0.6 * gain, 1.2 * gain), ("bias", -0.3, 0.3),
                            ("running_mean", -0.3, 0.3), ("running_var", 0.5, 1.5)):
      arrays[f"{norm}.{part}"] = rng.uniform(low, high, outputs).astype(np.float32)
    arrays[f"{norm}.num_batches_tracked"] = np.array(5)

  conv_norm("conv1", "bn1", width, 3, 7)
  inputs = width
  for number, depth in enumerate(DEPTHS[backbone], start=1):
    inner, outputs = width * 2 ** (number - 1), width * 2 ** (number + 1)
    for index in range(depth):
      block = f"layer{number}.{index}"
      conv_norm(f"{block}.conv1", f"{block}.bn1", inner, inputs, 1)
      conv_norm(f"{block}.conv2", f"{block}.bn2", inner, inner, 3)
      # A small gain at the end of each block keeps a hundred layers from growing.
      conv_norm(f"{block}.conv3", f"{block}.bn3", outputs, inner, 1, gain=0.3)
      if index == 0:
        conv_norm(f"{block}.downsample.0", f"{block}.downsample.1", outputs, inputs, 1)
      inputs = outputs
  arrays["fc.weight"] = rng.standard_normal((10, inputs), dtype=np.float32)
  arrays["fc.bias"] = np.zeros(10, np.float32)
  return arrays


def as_file(arrays, path="weights.pth"):
  """Returns what a reader of files gives to `match`."""
  lazy = lambda array: Lazy(array.shape, lambda: array)
  return SimpleNamespace(path=path, arrays={name: lazy(a) for name, a in arrays.items()})
