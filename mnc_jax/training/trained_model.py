"""Loads a trained model: one that is shipped, a file, or the last checkpoint of a run.

Sample images for the shipped models too.
"""

import difflib
import importlib.resources
import os
import pathlib
import warnings

import jax

from mnc_jax import weights
from mnc_jax.config.paths import as_local_path, as_path
from mnc_jax.model.parameters import init_params
from mnc_jax.model.trained import Model
from mnc_jax.training import checkpoint
from mnc_jax.weights.tree import check_fit

_SUFFIX = ".safetensors"


def load(name: str | os.PathLike) -> Model:
  """Loads a trained model, with its weights on the default device.

  Args:
    name: of a shipped model; or a path: of a .safetensors file from `mnc export`, or of a workdir
      of `mnc train`, whose last checkpoint is loaded. `~` is the home directory. A shipped name as
      text goes before a folder of that name, which is `./NAME` or a `pathlib.Path`.

  Returns:
    A `Model`.

  Raises:
    FileNotFoundError: if there is nothing of that name, naming the shipped models.
    ValueError: if what there is cannot be read as a model.

  Example:
    >>> import mnc_jax
    >>> model = mnc_jax.load("shapes")
    >>> model.category_names
    ('disc', 'square', 'triangle', 'star', 'ring')
    >>> model.config.data.padded_sizes  # (height, width) of the network input.
    ((128, 128),)
  """
  path, shipped = as_path(name, clouds=("gs",)), shipped_models()
  if os.fspath(name) in shipped and (isinstance(name, str) or not path.exists()):
    if path.exists():
      warnings.warn(f"{name} is the shipped model, not what is at {path.absolute()}: write "
                    f"./{name} for that", stacklevel=2)
    with importlib.resources.as_file(shipped[os.fspath(name)]) as file:
      return _load_file(file)
  if path.is_dir():
    return _load_workdir(path)
  if path.suffix.lower() == _SUFFIX:
    return _load_file(as_local_path(name))  # Files are mapped into memory.
  if path.suffix.lower() == ".zip" and path.exists():
    raise ValueError(f"{path}: programs of mnc export only run, as docs/deploy.md shows: give the "
                     f"workdir or {_SUFFIX} file that they were made of")
  if path.exists():
    raise ValueError(f"{path} is neither a workdir nor a {_SUFFIX} file. Weights of other formats "
                     "become a workdir by mnc import-weights")
  near = difflib.get_close_matches(str(name), shipped, n=1)
  raise FileNotFoundError(
      f"{path}: no such file or folder, and no shipped model of this name."
      f"{f' Did you mean {near[0]!r}?' if near else ''} Shipped: {', '.join(map(repr, shipped))}; "
      f"or give the path of a {_SUFFIX} file or of a workdir of mnc train")


def shipped_models() -> dict:
  """Returns {name: file} of the models that come with the package, sorted."""
  files = (importlib.resources.files("mnc_jax") / "pretrained").iterdir()
  return {file.name.removesuffix(_SUFFIX): file
          for file in sorted(files, key=lambda file: file.name) if file.name.endswith(_SUFFIX)}


def sample_images(name: str) -> tuple[pathlib.Path, ...]:
  """Returns the image files that come with a shipped model, to try it on; it never saw them.

  Args:
    name: of a shipped model.

  Returns:
    Paths; none for `shapes`, whose images are drawn by `mnc prepare --dataset shapes`. Label images
    of the same names are in `../labels`.

  Raises:
    ValueError: if no shipped model has this name.

  Example:
    >>> import mnc_jax
    >>> paths = mnc_jax.sample_images("nuclei")
    >>> print(len(paths), paths[0].name)
    3 small_nuclei.png
  """
  if name not in (shipped := shipped_models()):
    raise ValueError(f"no shipped model is called {name!r}; shipped: {', '.join(shipped)}")
  # A package in a zip file has no paths; pip and editable installations never make one.
  folder = pathlib.Path(str(importlib.resources.files("mnc_jax"))) / "pretrained/samples" / name
  held_out = folder / "val.txt"
  names = held_out.read_text().split() if held_out.is_file() else ()
  return tuple(folder / "images" / f"{name}.png" for name in names)


def _load_workdir(workdir):
  params, config, categories, notes = checkpoint.load_run(workdir)
  return Model(params, config, *categories, notes)


def _load_file(path):
  metadata = weights.read_metadata(path)
  categories = weights.read_categories(metadata, path)
  if categories is None or "config" not in metadata:
    raise ValueError(f"{path} holds weights, but no config or no categories: write a model of "
                     "mnc_jax with mnc export; weights of other libraries become a workdir by "
                     "mnc import-weights")
  config, (params, _) = weights.read_config(metadata, path), weights.load_safetensors(path)
  like = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
  check_fit(like, params, str(path))
  return Model(weights.move_to_device(params), config, *categories,
               weights.read_notes(metadata, path))
