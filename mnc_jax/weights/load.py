"""Pretrained weights into the parameter tree, one array at a time, with a report."""

from typing import NamedTuple

from flax import traverse_util
import jax
import numpy as np

from mnc_jax.config import Config, ModelConfig
from mnc_jax.config.validation import check_same_meaning
from mnc_jax.model.backbones.pixels import PIXEL_PARAMETERS
from mnc_jax.model.cascade import init_params
from mnc_jax.weights import model_file
from mnc_jax.weights.architectures import release, resnet, vgg16
from mnc_jax.weights.formats.files import WeightsFile, open_file
from mnc_jax.weights.sources import Source

# Who is asked, in this order, whether a file is of their kind. A model that contains another's
# layers (a detector with a VGG-16 inside) comes before that.
_MATCHERS = (model_file.match, release.match, resnet.match, vgg16.match)
# Layers of stage 3 that depend on the number of categories, and outputs a category.
_CATEGORY_LAYERS = {f"category_stage/{layer}/{part}": outputs
                    for layer, outputs in (("category", 1), ("box_category", 1), ("box_deltas", 4))
                    for part in ("kernel", "bias")}
# Models that were saved before these were parameters have none; a fresh backbone's are as good.
_MAY_BE_ABSENT = {f"features/{name}" for name in PIXEL_PARAMETERS}
_NAMES_TOLD = 8


class Report(NamedTuple):
  """What became of each parameter, by paths like `features/conv1_1/kernel`.

  Attributes:
    kind: what the file holds.
    loaded: taken from the file.
    initialised: kept as it was, because the file does not have it or it was not wanted.
    left_over: in the file, but not taken: by the file's own names if the model has no place for
      it, else by ours.
  """
  kind: str
  loaded: tuple
  initialised: tuple
  left_over: tuple

  def __str__(self):
    return (f"{self.kind}: {len(self.loaded)} arrays loaded, {len(self.initialised)} newly "
            f"initialised{_in_brackets(self.initialised)}, {len(self.left_over)} of the file left "
            f"over{_in_brackets(self.left_over)}")


def load_pretrained(params, path, *, config: ModelConfig, reset_categories: bool = False,
                    only_backbone: bool = False, category_names=None):
  """Puts the weights of a file into `params`: an ImageNet model, or one of ours.

  Args:
    params: from `init_params`, of arrays or of `jax.ShapeDtypeStruct`, so that nothing need be
      initialised that is replaced.
    path: of the file; `open_file` says which formats it may have.
    config: the model that `params` belong to.
    reset_categories: leave the layers of stage 3 as they are whose shape depends on the number
      of categories: for other categories than those of the file.
    only_backbone: take the shared features alone.
    category_names: of the model. If the file is one of ours, its categories must be these, unless
      they are reset or not taken.

  Returns:
    `(params, Report)`, a new tree. What comes from the file is float32 numpy; what does not is
    the leaf that was given. fc6 and fc7 of an ImageNet model, which begin both paths of stage 3,
    are one array at two places of the tree.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it cannot be read, is of another architecture, lacks a layer or has one too
      many, or one of another shape or for another number of categories; naming file and layer,
      and both shapes or numbers; if values are not finite; if one of ours has other categories, or
      was made with a config that gives its numbers another meaning.
  """
  file = open_file(path)
  source, flat = find_source(file, config), traverse_util.flatten_dict(params, sep="/")
  if not only_backbone:
    _check_meaning(file, config, None if reset_categories else category_names)
  wanted = {name: lazy for name, lazy in _for_each_backbone(source.arrays, flat).items()
            if not (reset_categories and name in _CATEGORY_LAYERS)
            and (not only_backbone or _stage(name).endswith("features"))}
  placed = {name: lazy for name, lazy in wanted.items() if _stage(name) in map(_stage, flat)}
  if not placed:
    raise ValueError(f"{path} ({source.kind}) has no parameter that was asked for; it holds "
                     f"{_top_names(source.arrays)}")
  if source.whole_stages:
    _check_whole(file, placed, flat, allowed=_CATEGORY_LAYERS if reset_categories else ())
  _check_places(file, placed, flat)
  merged = flat | _read_each_once(file, placed)
  left_over = source.left_over + tuple(name for name in source.arrays if name not in placed)
  return traverse_util.unflatten_dict(merged, sep="/"), Report(
      source.kind, tuple(placed), tuple(name for name in flat if name not in placed), left_over)


def find_source(file: WeightsFile, config: ModelConfig) -> Source:
  """Returns what a file offers to the model of `config`.

  Raises:
    ValueError: if it is of no known architecture, or not of the model's.
  """
  for match in _MATCHERS:
    source = match(file, config)
    if source is not None:
      return source
  if any("res2a_branch2a" in name or "conv2_block1" in name for name in file.arrays):
    raise ValueError(f"{file.path} holds a ResNet of Caffe or Keras, which cannot be read: take "
                     "torchvision's or timm's")
  raise ValueError(f"{file.path} ({file.container}) holds neither an ImageNet model of a kind that "
                   f"is known nor a model of mnc_jax, but {_top_names(file.arrays)}")


def initialise_missing(params, key, config: Config):
  """Initialises the leaves of `params` that are still `jax.ShapeDtypeStruct`.

  Args:
    params: from `load_pretrained`.
    key: of the random initialisation.
    config: of the whole experiment, that `params` belong to.

  Returns:
    `params` with the values of `init_params(key, config)` in those places. Nothing else of it is
    computed: the compiler drops what is not returned.
  """
  flat = traverse_util.flatten_dict(params, sep="/")
  missing = [name for name, leaf in flat.items() if isinstance(leaf, jax.ShapeDtypeStruct)]
  if not missing:
    return params

  @jax.jit
  def draw(key):
    fresh = traverse_util.flatten_dict(init_params(key, config), sep="/")
    return {name: fresh[name] for name in missing}

  return traverse_util.unflatten_dict(flat | draw(key), sep="/")


def move_to_device(params):
  """Returns `params` on the device; an array that stands at two places of the tree moves once.

  Half the memory of a copy each, where both paths of stage 3 begin with fc6. Two places then
  share a buffer: a step that gives its buffers up needs copies.
  """
  arrays = {id(leaf): leaf for leaf in jax.tree.leaves(params)}
  moved = {place: jax.device_put(leaf) for place, leaf in arrays.items()}
  return jax.tree.map(lambda leaf: moved[id(leaf)], params)


def _check_meaning(file, config, category_names):
  """Refuses one of our models whose numbers mean something else than here.

  The number of categories is compared by the shapes.
  """
  told = model_file.read_categories(file.metadata, file.path)
  if told and category_names and len(told[0]) == len(category_names):
    for theirs, ours in zip(told[0], category_names, strict=True):
      if theirs != ours:
        raise ValueError(f"{file.path} has the category {theirs!r} where the model has {ours!r}. "
                         f"{_RESET_ADVICE}")
  if "config" in file.metadata:
    made = model_file.read_config(file.metadata, file.path).model
    check_same_meaning(made, config, file.path)


def _for_each_backbone(arrays, flat):
  """Returns arrays with those of the one backbone also for the others of unshared features."""
  others = {f"{stage}_{name}": lazy for name, lazy in arrays.items() if _stage(name) == "features"
            for stage in ("mask", "category") if f"{stage}_{name}" in flat}
  return others | arrays


def _check_whole(file, placed, flat, allowed):
  """Refuses a saved model that lacks an array of a stage that it has others of."""
  stages = set(map(_stage, placed))
  missing = sorted(name for name in flat if _stage(name) in stages and name not in placed
                   and name not in allowed and name not in _MAY_BE_ABSENT)
  if missing:
    raise ValueError(f"{file.path} lacks {', '.join(missing[:_NAMES_TOLD])}, which the model has: "
                     f"use the config that it was trained with. {_BACKBONE_ADVICE}")


def _check_places(file, placed, flat):
  """Refuses arrays that the model has not, or in another shape."""
  extra = sorted(name for name in placed if name not in flat)
  if extra:
    raise ValueError(f"{file.path} has {', '.join(extra[:_NAMES_TOLD])}, which the model has not: "
                     f"use the config that it was trained with. {_BACKBONE_ADVICE}")
  for name, lazy in placed.items():
    found, expected = lazy.shape, tuple(flat[name].shape)
    if found != expected and name in _CATEGORY_LAYERS and found[:-1] == expected[:-1]:
      outputs = _CATEGORY_LAYERS[name]
      raise ValueError(
          f"{file.path} has {found[-1] // outputs} categories (background included), but the model "
          f"has {expected[-1] // outputs}. {_RESET_ADVICE}")
    if found != expected:
      raise ValueError(f"{file.path} has {name} with shape {found}, but the model's has shape "
                       f"{expected}{_dense_advice(name)}")


_BACKBONE_ADVICE = ("Or take the backbone alone: --only-backbone of mnc import-weights, "
                 "--train.init-only-backbone of mnc train.")
_RESET_ADVICE = ("To begin the layers that depend on categories anew: --reset-categories of "
                 "mnc import-weights, --train.init-reset-categories of mnc train.")


def _dense_advice(name):
  if not name.startswith(("category_stage/fc6", "category_stage/fc7")):
    return ""
  return (". Those of VGG-16 fit model.dense_width 4096 and model.roi_size 14. " + _BACKBONE_ADVICE)


def _read_each_once(file, placed):
  """Returns {path: array}; a `Lazy` that stands at several paths is read once."""
  paths = {}
  for name, lazy in placed.items():
    paths.setdefault(id(lazy), []).append(name)
  arrays = {}
  for names in paths.values():
    array = placed[names[0]].read()
    if not np.isfinite(array).all():
      raise ValueError(f"{file.path}: {names[0]} has values that are not finite: it is damaged, or "
                       "training broke down")
    arrays |= dict.fromkeys(names, array)
  return arrays


def _stage(name):
  return name.split("/")[0]


def _in_brackets(names):
  return f" ({_top_names(names)})" if names else ""


def _top_names(names):
  """Returns stages, or layers of another library, that arrays belong to; not too many."""
  tops = sorted({name.split("/")[0].rpartition(".")[0] or name.split("/")[0] for name in names})
  more = f" and {len(tops) - _NAMES_TOLD} more" if len(tops) > _NAMES_TOLD else ""
  return ", ".join(tops[:_NAMES_TOLD]) + more
