"""A trained model as programs that run without this library: StableHLO in a .zip file.

Of the files that `jax.export` can make, these choices let a script with JAX and NumPy alone use
them (docs/deploy.md has one):

- Results are a dict of arrays, not `Instances`: a registered class would have to be defined and
  registered again by every reader.
- Weights are arguments, not constants: programs of several sizes share them, and the compiler need
  not hold a gigabyte of constants. Each is a .npy file in the .zip.
- The number of images is a symbol, so that one program serves every batch.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import importlib.metadata
import json
import math
import os
import pathlib
import re
import zipfile

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mnc_jax.config import Config
from mnc_jax.config.serialization import without_paths
from mnc_jax.model.inference import predict
from mnc_jax.model.trained import Model
from mnc_jax.weights.model_file import flatten_weights, replace_file

PLATFORMS = ("cpu", "cuda", "tpu")  # As `jax.export` names them.
_VERSION = 1  # Of model.json; a reader may compare it.


def save_programs(path: str | pathlib.Path, model: Model, *, dtype: str = "float32") -> None:
  """Writes a model as a .zip of programs, weights and what is needed to use them.

  `model.json` has the sizes of the network input with the program of each, the names of the
  weights, and the numbers for images before and masks after; `weights/NAME.npy` the weights.

  Args:
    path: of the file; its folder is made if it is missing. An existing file is replaced at the end.
    model: with `notes["source"]`, which is written too.
    dtype: "float32" or "float16" of the weights; the programs turn them into float32.

  Raises:
    ValueError: if the dtype is another one, or rounding to it leaves a value infinite.
    OSError: if the file cannot be written.
  """
  if dtype == "bfloat16":
    raise ValueError("NumPy files have no bfloat16: use float16, or a .safetensors file")
  flat, path = flatten_weights(model.params, dtype=dtype), pathlib.Path(path)
  programs = {
      _name(size): export_program(flat, size, config=model.config).serialize()
      for size in model.config.data.padded_sizes}
  path.parent.mkdir(parents=True, exist_ok=True)
  with replace_file(path) as part, zipfile.ZipFile(part, "w") as archive:
    archive.writestr("model.json", json.dumps(describe(model, tuple(flat)), indent=2))
    for name, program in programs.items():
      archive.writestr(name, bytes(program), zipfile.ZIP_DEFLATED)
    for name, array in flat.items():
      with archive.open(f"weights/{name}.npy", "w", force_zip64=True) as entry:
        np.lib.format.write_array(entry, array, allow_pickle=False)


def export_program(flat: Mapping[str, np.ndarray | jax.ShapeDtypeStruct], size: tuple[int, int], *,
                   config: Config) -> jax.export.Exported:
  """Returns `predict` for one padded size, lowered for `PLATFORMS` at once.

  Args:
    flat: {path: array} of the weights, or their shapes.
    size: (height, width) of the padded images.
    config: of the model.

  Returns:
    A program from `(flat, images [b, H, W, 3] uint8, image_sizes [b, 2] int32)`, for any number of
    images b >= 1, to a dict of the fields of `Instances`.
  """
  def predict_instances(flat, images, image_sizes):
    params = {name: array.astype(jnp.float32) for name, array in flat.items()}
    found = predict(traverse_util.unflatten_dict(params, sep="/"), images, image_sizes,
                    config=config)
    return found._asdict()

  count, = jax.export.symbolic_shape("b")
  shapes = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in flat.items()}
  with _without_machine_paths():
    return jax.export.export(jax.jit(predict_instances), platforms=PLATFORMS)(
        shapes, jax.ShapeDtypeStruct((count, *size, 3), jnp.uint8),
        jax.ShapeDtypeStruct((count, 2), jnp.int32))


def describe(model: Model, names: Sequence[str]) -> dict:
  """Returns the content of model.json.

  Args:
    model: the model.
    names: of the weights.
  """
  data = model.config.data
  # The first that holds an image is the one that `choose_buckets` chooses.
  sizes = sorted(data.padded_sizes, key=math.prod)
  return {
      "version": _VERSION,
      "programs": [{"file": _name(size), "size": list(size)} for size in sizes],
      "platforms": list(PLATFORMS),
      "short_side": data.short_side,
      "long_side": data.long_side,
      "stretch_contrast": data.stretch_contrast,
      "mask_threshold": model.config.inference.mask_threshold,
      "category_names": list(model.category_names),
      "category_ids": [int(number) for number in model.category_ids],
      "weights": list(names),
      "source": model.notes.get("source", "unknown"),
      "made_with": {name: importlib.metadata.version(name) for name in ("mnc_jax", "jax")},
      "config": dataclasses.asdict(without_paths(model.config)),
  }


def _name(size):
  return f"predict_{size[0]}x{size[1]}.jax"


@contextlib.contextmanager
def _without_machine_paths() -> Iterator[None]:
  """Keeps the folders of this machine out of the source locations in a program."""
  option = "jax_hlo_source_file_canonicalization_regex"
  before = jax.config.values[option]
  jax.config.update(option, f".*{re.escape(os.sep)}(?=[^{re.escape(os.sep)}]+$)")
  try:
    yield
  finally:
    jax.config.update(option, before)
