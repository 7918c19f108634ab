"""Whether the weights of a file fit a model; errors say what to do about it."""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from typing import Any

from mnc_jax.coco.categories import check_same_categories
from mnc_jax.config import ModelConfig
from mnc_jax.config.serialization import differing_fields
from mnc_jax.config.validation import FREE, check_same_meaning
from mnc_jax.model.backbones.pixels import PIXEL_PARAMETERS
from mnc_jax.weights import metadata
from mnc_jax.weights.formats.lazy import Lazy, WeightsFile

# Layers of stage 3 that depend on the number of categories, and their outputs per category.
CATEGORY_LAYERS = {f"category_stage/{layer}/{part}": outputs
                   for layer, outputs in (("category", 1), ("box_category", 1), ("box_deltas", 4))
                   for part in ("kernel", "bias")}
# Models saved before these were parameters lack them; those of a fresh backbone are equal.
_MAY_BE_ABSENT = {f"features/{name}" for name in PIXEL_PARAMETERS}
NAMES_SHOWN = 8  # Of many.
_BACKBONE_ADVICE = ("To load the backbone alone: --only-backbone of mnc import-weights, "
                    "--train.init-only-backbone of mnc train.")
_RESET_ADVICE = ("To initialise the layers that depend on categories: --reset-categories of "
                 "mnc import-weights, --train.init-reset-categories of mnc train.")


def stage_of(name: str) -> str:
  """Returns the stage that a parameter belongs to, by its path in the tree."""
  return name.split("/")[0]


def check_meaning(file: WeightsFile, config: ModelConfig, category_names: Sequence[str] | None
                  ) -> None:
  """Rejects one of our models whose categories or numbers mean something else than here.

  The number of categories is compared by the shapes.

  Raises:
    ValueError: naming the categories or fields that differ.
  """
  saved = metadata.read_categories(file.metadata, file.path)
  if saved and category_names and len(saved[0]) == len(category_names):
    check_same_categories(saved[0], category_names, first=str(file.path), second="the model",
                          advice=f". {_RESET_ADVICE}")
  if "config" in file.metadata:
    made = metadata.read_config(file.metadata, file.path).model
    check_same_meaning(made, config, file.path)


def check_backbones(file: WeightsFile, arrays: Iterable[str], flat: Iterable[str]) -> None:
  """Rejects backbones of single stages for a model whose stages share one.

  Args:
    file: of any format.
    arrays: paths of the parameters in it.
    flat: paths of the parameters of the model.

  Raises:
    ValueError: naming the backbones.
  """
  extra = {stage_of(name) for name in arrays if stage_of(name).endswith("_features")} - set(
      map(stage_of, flat))
  if extra:
    raise ValueError(f"{file.path} has {', '.join(sorted(extra))}: it was trained with "
                     f"model.share_features False, but here it is True. {_BACKBONE_ADVICE}")


def advise(file: WeightsFile, config: ModelConfig, *, only_backbone: bool) -> str:
  """Returns what to do about a file that does not fit: the fields that differ, and another way."""
  advice = "use the config that it was trained with"
  try:
    made = metadata.read_config(file.metadata, file.path).model
  except (KeyError, ValueError):  # It has none, or another library's.
    made = config
  changes = [f"model.{name} ({was!r} there, {now!r} here)"
             for name, was, now in differing_fields(made, config)
             if name not in (*FREE, "num_categories")]  # Of categories an error of its own speaks.
  if changes:
    advice += ", which differs in " + ", ".join(changes)
  return advice if only_backbone else f"{advice}. {_BACKBONE_ADVICE}"


def check_whole(file: WeightsFile, requested: Collection[str], flat: Iterable[str], *,
                allowed: Container[str], advice: str) -> None:
  """Rejects a saved model that has some arrays of a stage, but not all.

  Args:
    file: of any format.
    requested: paths of the parameters that are loaded from it.
    flat: paths of the parameters of the model.
    allowed: paths that it may lack.
    advice: what to do, for the message.

  Raises:
    ValueError: naming what is missing.
  """
  stages = set(map(stage_of, requested))
  missing = sorted(name for name in flat if stage_of(name) in stages and name not in requested
                   and name not in allowed and name not in _MAY_BE_ABSENT)
  if missing:
    raise ValueError(f"{file.path} lacks {', '.join(missing[:NAMES_SHOWN])}, which the model has: "
                     f"{advice}")


def check_shapes(file: WeightsFile, requested: Mapping[str, Lazy], flat: Mapping[str, Any], *,
                 advice: str) -> None:
  """Rejects arrays that the model does not have, or has in another shape.

  Args:
    file: of any format.
    requested: the arrays that are loaded from it, by path.
    flat: the parameters of the model, by path.
    advice: what to do, for the message.

  Raises:
    ValueError: naming the array, and both shapes or numbers of categories.
  """
  extra = sorted(name for name in requested if name not in flat)
  if extra:
    raise ValueError(f"{file.path} has {', '.join(extra[:NAMES_SHOWN])}, which the model does not "
                     f"have: {advice}")
  for name, lazy in requested.items():
    found, expected = lazy.shape, tuple(flat[name].shape)
    if found != expected and name in CATEGORY_LAYERS and found[:-1] == expected[:-1]:
      outputs = CATEGORY_LAYERS[name]
      raise ValueError(
          f"{file.path} has {found[-1] // outputs} categories (background included), but the model "
          f"has {expected[-1] // outputs}. {_RESET_ADVICE}")
    if found != expected:
      if name.startswith(("category_stage/fc6", "category_stage/fc7")):
        advice = f"those of VGG-16 fit model.dense_width 4096 and model.roi_size 14; {advice}"
      raise ValueError(f"{file.path} has {name} with shape {found}, but the model's has shape "
                       f"{expected}: {advice}")
