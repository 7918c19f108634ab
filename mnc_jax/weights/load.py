"""Loads pretrained weights into the parameter tree, one array at a time, with a report."""

from collections.abc import Iterable, Sequence
import functools
import os
import pathlib
from typing import NamedTuple

from flax import traverse_util
import jax
import numpy as np

from mnc_jax.config import Config, ModelConfig
from mnc_jax.model.parameters import init_params
from mnc_jax.weights import fit, model_file
from mnc_jax.weights.architectures import release, resnet, vgg16
from mnc_jax.weights.conversion import MatchedWeights
from mnc_jax.weights.formats.files import open_file
from mnc_jax.weights.formats.lazy import WeightsFile


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
    fit.check_meaning(file, config, None if reset_categories else category_names)
    fit.check_backbones(file, matched.arrays, flat)
  requested = {name: lazy for name, lazy in _for_each_backbone(matched.arrays, flat).items()
               if fit.stage_of(name) in map(fit.stage_of, flat)
               and not (reset_categories and name in fit.CATEGORY_LAYERS)
               and (not only_backbone or fit.stage_of(name).endswith("features"))}
  if not requested:
    raise ValueError(f"{path} ({matched.kind}) has none of the requested parameters; it holds "
                     f"{_top_names(matched.arrays)}")
  advice = fit.advise(file, config, only_backbone=only_backbone)
  if matched.whole_stages:
    fit.check_whole(file, requested, flat, advice=advice,
                    allowed=fit.CATEGORY_LAYERS if reset_categories else ())
  fit.check_shapes(file, requested, flat, advice=advice)
  merged = flat | _read_each_once(file, requested)
  unused = matched.unused + tuple(name for name in matched.arrays if name not in requested)
  return traverse_util.unflatten_dict(merged, sep="/"), LoadReport(
      matched.kind, tuple(requested), tuple(name for name in flat if name not in requested), unused,
      matched.pixels)


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
  return traverse_util.unflatten_dict(flat | _draw(config, tuple(missing))(key), sep="/")


@functools.lru_cache(maxsize=4)
def _draw(config, names):
  """Returns the compiled function of a key that returns {name: initial weight}."""
  def draw(key):
    fresh = traverse_util.flatten_dict(init_params(key, config), sep="/")
    return {name: fresh[name] for name in names}

  # It runs once. On a CPU a level below the default gives the same bits, and compiles in a third of
  # the time (`shapes`: 8 CPU seconds instead of 22). One that the user chose is kept.
  chosen = "xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", "")
  quick = jax.default_backend() == "cpu" and not chosen
  return jax.jit(draw, compiler_options={"xla_backend_optimization_level": 1} if quick else None)


def move_to_device(params: dict) -> dict:
  """Returns `params` on the device; an array at two paths of the tree moves once.

  This halves the memory where both paths of stage 3 begin with fc6. The two paths then share a
  buffer: a step that donates its buffers needs copies.
  """
  arrays = {id(leaf): leaf for leaf in jax.tree.leaves(params)}
  moved = {identity: jax.device_put(leaf) for identity, leaf in arrays.items()}
  return jax.tree.map(lambda leaf: moved[id(leaf)], params)


def _for_each_backbone(arrays, flat):
  """Returns `arrays`, with the backbone also for those of `model.share_features` False."""
  others = {f"{stage}_{name}": lazy for name, lazy in arrays.items()
            if fit.stage_of(name) == "features"
            for stage in ("mask", "category") if f"{stage}_{name}" in flat}
  return others | arrays


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


def _in_brackets(names):
  return f" ({_top_names(names)})" if names else ""


def _top_names(names: Iterable[str]) -> str:
  """Returns the stages, or layers of another library, that arrays belong to; the first few."""
  tops = sorted({name.split("/")[0].rpartition(".")[0] or name.split("/")[0] for name in names})
  more = f" and {len(tops) - fit.NAMES_SHOWN} more" if len(tops) > fit.NAMES_SHOWN else ""
  return ", ".join(tops[:fit.NAMES_SHOWN]) + more
