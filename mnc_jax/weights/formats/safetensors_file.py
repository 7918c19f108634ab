"""Arrays of .safetensors files."""

import pathlib

from safetensors import SafetensorError, safe_open

from mnc_jax.weights.formats.lazy import Lazy, lazy_array


def read_safetensors(path: pathlib.Path) -> tuple[dict[str, Lazy], dict[str, str]]:
  """Returns `({name: Lazy}, metadata)` of `path`.

  Raises:
    ValueError: if the file cannot be read.
  """
  try:
    with safe_open(path, framework="numpy") as file:
      shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
      metadata = file.metadata() or {}
  except (SafetensorError, OSError) as error:
    raise ValueError(f"{path} cannot be read as safetensors: {error}") from error
  return {name: lazy_array(path, name, shape, lambda name=name: _read(path, name))
          for name, shape in shapes.items()}, metadata


def _read(path, name):
  # Opened for each array, so that the pages of earlier arrays are released.
  try:
    with safe_open(path, framework="numpy") as file:
      return file.get_tensor(name)
  except SafetensorError as error:
    raise ValueError(str(error)) from error
