"""What the library makes of one kind: read with right masks, or rejected in a sentence."""

import pathlib
import re
import warnings

import numpy as np

from file_kinds import annotations, images, labels
from file_kinds.base import Kind
from mnc_jax import cli
from mnc_jax.config import DataConfig
from mnc_jax.data import load_source, set_folder, summarize

KINDS: dict[str, Kind] = images.KINDS | annotations.KINDS | labels.KINDS


def prepare(kind: Kind, folder: pathlib.Path) -> DataConfig:
  """Writes the source of a kind into a new folder, prepares it, and returns how it is read."""
  source = folder / "source"
  source.mkdir(parents=True)
  kind.write(source)
  cli.call("prepare", ["--dataset", kind.dataset, "--source", str(source),
                       "--data-dir", str(folder / "data"), *kind.options])
  return DataConfig(dataset=kind.dataset, data_dir=str(folder / "data"), short_side=64,
                    long_side=64, **kind.data)


def check(kind: Kind, folder: pathlib.Path) -> tuple[bool, str]:
  """Returns whether a kind comes out as expected, and what was got."""
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
      config = prepare(kind, folder)
      records = [source[row] for source in (load_source(config, split) for split in
                                            ("train", "eval")) for row in range(len(source))]
    except ValueError as error:
      return bool(re.search(kind.expected, str(error))) and kind.expected != "read", str(error)
  remarks = "\n".join([str(found.message) for found in caught if found.category is UserWarning]
                      + re.findall("^Warning: .*|.*intensities.*", summarize(
                          set_folder(config.dataset, config.data_dir)), re.MULTILINE))
  return _judge(kind, records, remarks)


def _judge(kind, records, remarks):
  instances = sum(len(record.masks) for record in records)
  worst = min(map(_measure, records))
  got = f"{len(records)} images, {instances} instances, IoU {worst:.2f}{remarks and '; '}{remarks}"
  right = (kind.expected == "read" and len(records) == 5 and instances == kind.instances
           and worst >= kind.iou
           and bool(re.search(kind.remark, remarks) if kind.remark else not remarks))
  return right, got


def _measure(record):
  """Returns the IoU of all masks of a record with the bright pixels of its image."""
  grey = record.image.astype(float).mean(axis=2)
  bright = grey > (grey.min() + grey.max()) / 2
  masks = np.any(record.masks, axis=0)
  return (masks & bright).sum() / (masks | bright).sum()
