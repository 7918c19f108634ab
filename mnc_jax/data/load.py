"""The door to the data: from a config to a source."""

from typing import Literal

from mnc_jax.config import DataConfig
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
  else:
    raise ValueError(f"data.dataset {config.dataset!r} is not known: 'shapes' or 'coco'")
  return restrict(source, config.image_ids) if config.image_ids else source
