"""VGG-16 of random numbers, written as each library does; fc6 and fc7 are narrow."""

import h5py
import numpy as np
from safetensors.numpy import save_file

from helpers.caffe_messages import make_net

DEPTHS = (2, 2, 3, 3, 3)
LAYERS = [(block, layer) for block, depth in enumerate(DEPTHS, start=1)
          for layer in range(1, depth + 1)]
CHANNELS = (3, 64, 128, 256, 512, 512)  # Of the image and of each block.
WIDTH = 8  # Of fc6 and fc7: `model.dense_width`.
# torchvision's and timm's numbers for the convolutions (torchvision.models.vgg16().features).
TORCH_NUMBERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def make_layers(convolutions=LAYERS, *, channels=CHANNELS):
  """Returns {"conv1_1": (kernel [out, in, 3, 3], bias), ..., "fc6", "fc7", "fc8"}."""
  rng = np.random.default_rng(0)
  layers, inputs = {}, channels[0]
  for block, layer in convolutions:
    shape = (channels[block], inputs, 3, 3)
    layers[f"conv{block}_{layer}"] = (
        0.05 * rng.standard_normal(shape, np.float32),
        rng.standard_normal(channels[block], np.float32))
    inputs = channels[block]
  for name, outputs, inputs in (("fc6", WIDTH, 512 * 49), ("fc7", WIDTH, WIDTH), ("fc8", 5, WIDTH)):
    layers[name] = (rng.standard_normal((outputs, inputs), np.float32),
                    rng.standard_normal(outputs, np.float32))
  return layers


def channels_last(name, kernel):
  """Returns a kernel in Keras's layout."""
  if name == "fc6":
    return kernel.reshape(-1, 512, 7, 7).transpose(2, 3, 1, 0).reshape(-1, len(kernel))
  return kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T


def keras_name(name):
  """Returns Keras's name of the layer that is `name` in Caffe."""
  return {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}.get(name) or (
      f"block{name[4]}_conv{name[6]}")


def keras_arrays(layers, spell):
  """Returns {name: array}; `spell(layer, "kernel" or "bias")` gives the name in the file."""
  return {spell(keras_name(name), part): array for name, (kernel, bias) in layers.items()
          for part, array in (("kernel", channels_last(name, kernel)), ("bias", bias))}


def numpy_arrays(layers):
  """Returns the arrays of an .npz file."""
  return keras_arrays(layers, lambda layer, part: f"{layer}_{'W' if part == 'kernel' else 'b'}")


def torch_arrays(layers, *, timm=False):
  """Returns {name: array} as torchvision or timm has it."""
  heads = (("pre_logits.fc1", "pre_logits.fc2", "head.fc") if timm else
           ("classifier.0", "classifier.3", "classifier.6"))
  convolutions = [name for name in layers if name.startswith("conv")]
  names = dict(zip(convolutions, (f"features.{n}" for n in TORCH_NUMBERS)))
  names |= dict(zip(("fc6", "fc7", "fc8"), heads))
  arrays = {}
  for name, (kernel, bias) in layers.items():
    if timm and name in ("fc6", "fc7"):
      kernel = kernel.reshape(WIDTH, -1, *((7, 7) if name == "fc6" else (1, 1)))
    arrays |= {f"{names[name]}.weight": kernel, f"{names[name]}.bias": bias}
  return arrays


def write_npz(path, layers):
  """Writes the convolutions and fc6, fc7 as NumPy's arrays."""
  with open(path, "wb") as file:  # Given a name, NumPy would append to it.
    np.savez(file, **numpy_arrays(layers))


def write_hdf5(path, arrays):
  """Writes arrays at the paths that are their names."""
  with h5py.File(path, "w") as file:
    for name, array in arrays.items():
      file[name] = array


def write_keras(path, layers):
  """As `model.save_weights("x.h5")` of Keras 2."""
  write_hdf5(path, keras_arrays(layers, lambda layer, part: f"{layer}/{layer}/{part}:0"))


def write_safetensors(path, layers, **options):
  """As timm."""
  save_file({name: np.ascontiguousarray(array)
             for name, array in torch_arrays(layers, **options).items()}, path)


def write_caffemodel(path, layers, **options):
  """As Caffe, in its protobuf format."""
  path.write_bytes(make_net(layers, **options).SerializeToString())


def write_caffe_hdf5(path, layers):
  """As Caffe, in its HDF5 format."""
  write_hdf5(path, {f"data/{name}/{index}": array for name, arrays in layers.items()
                    for index, array in enumerate(arrays)})
