"""The door to the data: from a config to a source."""

import pathlib
from typing import Literal

from mnc_jax.config import DataConfig
from mnc_jax.data.coco import load_coco
from mnc_jax.data.shapes import load_shapes
from mnc_jax.data.source import Source, restrict


def load_source(config: DataConfig, split: Literal["train", "eval"]) -> Source:
  """Returns the images to train on or to evaluate on.

  Raises:
    ValueError: if a path is not given or does not exist, naming the field; if the
      annotations or `config.image_ids` do not fit; if the split is empty.
  """
  if split not in ("train", "eval"):
    raise ValueError(f"split {split!r}: 'train' or 'eval'")
  if config.dataset == "shapes":
    source = load_shapes(config.data_dir, "train" if split == "train" else "validation")
  elif config.dataset == "coco":
    annotations = _existing_path(config, f"{split}_annotations", pathlib.Path.is_file)
    source = load_coco(annotations, _existing_path(config, f"{split}_images", pathlib.Path.is_dir))
  else:
    raise ValueError(f"data.dataset {config.dataset!r} is not known: 'shapes' or 'coco'")
  if not len(source):
    raise ValueError(f"{source.name} has no images")
  return restrict(source, config.image_ids) if config.image_ids else source


def _existing_path(config, field, exists):
  path = getattr(config, field)
  if not path:
    raise ValueError(f"data.{field} is not given; the data set {config.dataset!r} needs it")
  if not exists(pathlib.Path(path)):
    kind = "file" if exists is pathlib.Path.is_file else "folder"
    raise ValueError(f"data.{field}: there is no {kind} {path}")
  return path
