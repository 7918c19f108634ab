"""Loads pretrained weights into the parameter tree, one array at a time, with a report."""

from collections.abc import Iterable, Sequence
import functools
import pathlib
from typing import NamedTuple

from flax import traverse_util
import jax
import numpy as np

from mnc_jax.coco.categories import check_same_categories
from mnc_jax.config import Config, ModelConfig
from mnc_jax.config.serialization import differing_fields
from mnc_jax.config.validation import FREE, check_same_meaning
from mnc_jax.model.backbones.pixels import PIXEL_PARAMETERS
from mnc_jax.model.cascade import init_params
from mnc_jax.weights import model_file
from mnc_jax.weights.architectures import release, resnet, vgg16
from mnc_jax.weights.conversion import MatchedWeights
from mnc_jax.weights.formats.files import open_file
from mnc_jax.weights.formats.lazy import WeightsFile

# Layers of stage 3 that depend on the number of categories, and their outputs per category.
_CATEGORY_LAYERS = {f"category_stage/{layer}/{part}": outputs
                    for layer, outputs in (("category", 1), ("box_category", 1), ("box_deltas", 4))
                    for part in ("kernel", "bias")}
# Models saved before these were parameters lack them; those of a fresh backbone are equal.
_MAY_BE_ABSENT = {f"features/{name}" for name in PIXEL_PARAMETERS}
_NAMES_SHOWN = 8
_BACKBONE_ADVICE = ("To load the backbone alone: --only-backbone of mnc import-weights, "
                    "--train.init-only-backbone of mnc train.")
_RESET_ADVICE = ("To initialise the layers that depend on categories: --reset-categories of "
                 "mnc import-weights, --train.init-reset-categories of mnc train.")


class LoadReport(NamedTuple):
  """Where each parameter came from, by paths like `features/conv1_1/kernel`.

  Attributes:
    kind: what the file holds.
    loaded: from the file.
    initialised: not in the file, or not requested; kept as given.
    unused: in the file, but not loaded: our path if the matcher knows one, else the file's name.
    pixels: that the backbone is taken to be trained with, "" where the file has mean and scale.
  """
  kind: str
  loaded: tuple[str, ...]
  initialised: tuple[str, ...]
  unused: tuple[str, ...]
  pixels: str = ""

  def __str__(self) -> str:
    return (f"{self.kind}: {len(self.loaded)} arrays loaded, {len(self.initialised)} newly "
            f"initialised{_in_brackets(self.initialised)}, {len(self.unused)} of the file "
            f"unused{_in_brackets(self.unused)}"
            + (f"; pixels: {self.pixels}" if self.pixels else ""))


def load_pretrained(params: dict, path: str | pathlib.Path, *, config: ModelConfig,
                    reset_categories: bool = False, only_backbone: bool = False,
                    category_names: Sequence[str] | None = None) -> tuple[dict, LoadReport]:
  """Loads the weights of a file into `params`: an ImageNet model, or one of ours.

  Args:
    params: from `init_params`, of arrays or of `jax.ShapeDtypeStruct`, so that nothing need be
      initialised that is replaced.
    path: of the file, in a format of `open_file`.
    config: the model that `params` belong to.
    reset_categories: keep the layers of stage 3 whose shape depends on the number of categories
      as given: for other categories than those of the file.
    only_backbone: load the shared features alone.
    category_names: of the model. If the file is one of ours, its categories must be these, unless
      they are reset or not loaded.

  Returns:
    `(params, LoadReport)`, a new tree. What comes from the file is float32 numpy; the rest are
    the given leaves. fc6 and fc7 of an ImageNet model, which initialise both paths of stage 3,
    are one array at two paths of the tree.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it cannot be read, is of another architecture, lacks a layer or has an extra
      one, or one of another shape or for another number of categories; naming file and layer,
      and both shapes or numbers; if values are not finite; if one of ours has other categories, or
      was made with a config that gives its numbers another meaning.
  """
  file = open_file(path)
  matched = match_file(file, config, only_backbone=only_backbone)
  flat = traverse_util.flatten_dict(params, sep="/")
  if not only_backbone:
    _check_meaning(file, config, None if reset_categories else category_names)
    _check_backbones(file, matched.arrays, flat)
  requested = {name: lazy for name, lazy in _for_each_backbone(matched.arrays, flat).items()
               if _stage(name) in map(_stage, flat)
               and not (reset_categories and name in _CATEGORY_LAYERS)
               and (not only_backbone or _stage(name).endswith("features"))}
  if not requested:
    raise ValueError(f"{path} ({matched.kind}) has none of the requested parameters; it holds "
                     f"{_top_names(matched.arrays)}")
  advice = _advise(file, config, only_backbone)
  if matched.whole_stages:
    _check_whole(file, requested, flat, allowed=_CATEGORY_LAYERS if reset_categories else (),
                 advice=advice)
  _check_shapes(file, requested, flat, advice)
  merged = flat | _read_each_once(file, requested)
  unused = matched.unused + tuple(name for name in matched.arrays if name not in requested)
  return traverse_util.unflatten_dict(merged, sep="/"), LoadReport(
      matched.kind, tuple(requested), tuple(name for name in flat if name not in requested), unused,
      matched.pixels)


def _check_backbones(file, arrays, flat):
  """Rejects backbones of single stages for a model whose stages share one."""
  extra = {_stage(name) for name in arrays if _stage(name).endswith("_features")} - set(
      map(_stage, flat))
  if extra:
    raise ValueError(f"{file.path} has {', '.join(sorted(extra))}: it was trained with "
                     f"model.share_features False, but here it is True. {_BACKBONE_ADVICE}")


def match_file(file: WeightsFile, config: ModelConfig, *, only_backbone: bool = False
               ) -> MatchedWeights:
  """Returns the arrays of a file that belong to the model of `config`.

  Args:
    file: of any format.
    config: the model.
    only_backbone: the shared features alone are wanted, so that other stages may not fit.

  Raises:
    ValueError: if it is of no known architecture, or not of the model's.
  """
  release_match = functools.partial(release.match, only_backbone=only_backbone)
  # A model that contains another's layers (a detector with a VGG-16 inside) comes before that.
  for match in (model_file.match, release_match, resnet.match, vgg16.match):
    matched = match(file, config)
    if matched is not None:
      return matched
  if any("res2a_branch2a" in name or "conv2_block1" in name for name in file.arrays):
    raise ValueError(f"{file.path} holds a ResNet of Caffe or Keras, which cannot be read: use "
                     "torchvision's or timm's")
  raise ValueError(f"{file.path} ({file.container}) holds neither a known ImageNet model nor a "
                   f"model of mnc_jax, but {_top_names(file.arrays)}")


def initialise_missing(params: dict, key: jax.Array, config: Config) -> dict:
  """Initialises the leaves of `params` that are still `jax.ShapeDtypeStruct`.

  Args:
    params: from `load_pretrained`.
    key: of the random initialisation.
    config: of the whole experiment, that `params` belong to.

  Returns:
    `params` with these leaves from `init_params(key, config)`. Nothing else of it is computed:
    the compiler drops what is not returned.
  """
  flat = traverse_util.flatten_dict(params, sep="/")
  missing = [name for name, leaf in flat.items() if isinstance(leaf, jax.ShapeDtypeStruct)]
  if not missing:
    return params
  return traverse_util.unflatten_dict(flat | _draw(key, config, tuple(missing)), sep="/")


@functools.partial(jax.jit, static_argnums=(1, 2))
def _draw(key, config, names):
  fresh = traverse_util.flatten_dict(init_params(key, config), sep="/")
  return {name: fresh[name] for name in names}


def move_to_device(params: dict) -> dict:
  """Returns `params` on the device; an array at two paths of the tree moves once.

  This halves the memory where both paths of stage 3 begin with fc6. The two paths then share a
  buffer: a step that donates its buffers needs copies.
  """
  arrays = {id(leaf): leaf for leaf in jax.tree.leaves(params)}
  moved = {identity: jax.device_put(leaf) for identity, leaf in arrays.items()}
  return jax.tree.map(lambda leaf: moved[id(leaf)], params)


def _check_meaning(file, config, category_names):
  """Rejects one of our models whose categories or numbers mean something else than here.

  The number of categories is compared by the shapes.
  """
  saved = model_file.read_categories(file.metadata, file.path)
  if saved and category_names and len(saved[0]) == len(category_names):
    check_same_categories(saved[0], category_names, first=str(file.path), second="the model",
                          advice=f". {_RESET_ADVICE}")
  if "config" in file.metadata:
    made = model_file.read_config(file.metadata, file.path).model
    check_same_meaning(made, config, file.path)


def _for_each_backbone(arrays, flat):
  """Returns `arrays`, with the backbone also for those of `model.share_features` False."""
  others = {f"{stage}_{name}": lazy for name, lazy in arrays.items() if _stage(name) == "features"
            for stage in ("mask", "category") if f"{stage}_{name}" in flat}
  return others | arrays


def _advise(file, config, only_backbone):
  """Returns what to do about a file that does not fit: the fields that differ, and another way."""
  advice = "use the config that it was trained with"
  try:
    made = model_file.read_config(file.metadata, file.path).model
  except (KeyError, ValueError):  # It has none, or another library's.
    made = config
  changes = [f"model.{name} ({was!r} there, {now!r} here)"
             for name, was, now in differing_fields(made, config)
             if name not in (*FREE, "num_categories")]  # Of categories an error of its own speaks.
  if changes:
    advice += ", which differs in " + ", ".join(changes)
  return advice if only_backbone else f"{advice}. {_BACKBONE_ADVICE}"


def _check_whole(file, requested, flat, allowed, advice):
  """Rejects a saved model that has some arrays of a stage, but not all."""
  stages = set(map(_stage, requested))
  missing = sorted(name for name in flat if _stage(name) in stages and name not in requested
                   and name not in allowed and name not in _MAY_BE_ABSENT)
  if missing:
    raise ValueError(f"{file.path} lacks {', '.join(missing[:_NAMES_SHOWN])}, which the model has: "
                     f"{advice}")


def _check_shapes(file, requested, flat, advice):
  """Rejects arrays that the model does not have, or has in another shape."""
  extra = sorted(name for name in requested if name not in flat)
  if extra:
    raise ValueError(f"{file.path} has {', '.join(extra[:_NAMES_SHOWN])}, which the model does not "
                     f"have: {advice}")
  for name, lazy in requested.items():
    found, expected = lazy.shape, tuple(flat[name].shape)
    if found != expected and name in _CATEGORY_LAYERS and found[:-1] == expected[:-1]:
      outputs = _CATEGORY_LAYERS[name]
      raise ValueError(
          f"{file.path} has {found[-1] // outputs} categories (background included), but the model "
          f"has {expected[-1] // outputs}. {_RESET_ADVICE}")
    if found != expected:
      if name.startswith(("category_stage/fc6", "category_stage/fc7")):
        advice = f"those of VGG-16 fit model.dense_width 4096 and model.roi_size 14; {advice}"
      raise ValueError(f"{file.path} has {name} with shape {found}, but the model's has shape "
                       f"{expected}: {advice}")


def _read_each_once(file, requested):
  """Returns {path: array}; a `Lazy` at several paths is read once."""
  paths: dict[int, list[str]] = {}
  for name, lazy in requested.items():
    paths.setdefault(id(lazy), []).append(name)
  arrays = {}
  for names in paths.values():
    array = requested[names[0]].read()
    if not np.isfinite(array).all():
      raise ValueError(f"{file.path}: {names[0]} has values that are not finite: it is damaged, or "
                       "training diverged")
    arrays |= dict.fromkeys(names, array)
  return arrays


def _stage(name):
  return name.split("/")[0]


def _in_brackets(names):
  return f" ({_top_names(names)})" if names else ""


def _top_names(names: Iterable[str]) -> str:
  """Returns the stages, or layers of another library, that arrays belong to; the first few."""
  tops = sorted({name.split("/")[0].rpartition(".")[0] or name.split("/")[0] for name in names})
  more = f" and {len(tops) - _NAMES_SHOWN} more" if len(tops) > _NAMES_SHOWN else ""
  return ", ".join(tops[:_NAMES_SHOWN]) + more
