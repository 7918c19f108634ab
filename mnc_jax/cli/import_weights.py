"""mnc import-weights: makes a workdir of pretrained weights."""

import dataclasses
import pathlib
import shlex
import time
from typing import Any
import warnings

import jax
import numpy as np

from mnc_jax import weights
from mnc_jax.cli.commands import ImportWeights
from mnc_jax.cli.parse import load_config
from mnc_jax.config import Config, with_categories
from mnc_jax.data import load_categories
from mnc_jax.data.readers.coco_file import read_coco_file
from mnc_jax.model.parameters import init_params
from mnc_jax.training import changes, checkpoint
from mnc_jax.training.initial_state import advise_fresh_layers, check_frozen
from mnc_jax.weights.self_check import record_numbers

# Fields that `predict` reads: all of inference, and what the network sees of an image.
_READ_BY_PREDICT = ("inference.", *(f"data.{field}" for field in (
    "exif", "page", "channels", "short_side", "long_side", "stretch_contrast")))


def run(options: ImportWeights) -> None:
  """Reads the source, initialises the rest, and writes step 0 of a run."""
  started = time.perf_counter()
  checkpoint.check_free(options.output)
  categories = choose_categories(options)
  config = with_categories(options.experiment, categories.category_names)
  key = jax.random.key(config.train.seed)
  params, report = weights.load_pretrained(
      jax.eval_shape(lambda: init_params(key, config)), options.source, config=config.model,
      reset_categories=options.reset_categories, only_backbone=options.only_backbone,
      category_names=categories.category_names)
  if report.kind == weights.OWN_KIND and not options.only_backbone:
    warn_of_other_reading(options.source, config)
  check_frozen(report, params, config, options.source)
  for advice in advise_fresh_layers(report, config):
    warnings.warn(f"{options.source}: {advice}", stacklevel=2)
  params = weights.move_to_device(weights.initialise_missing(params, key, config))
  checkpoint.save_model(options.output, params, config, categories, notes={
      "source": f"{report.kind}: {options.source.name}",
      "self_check": record_numbers(params, config)})
  print(f"{report}\n{options.output}: a checkpoint of step 0, "
        f"{time.perf_counter() - started:.0f} seconds. Train it further with\n  "
        f"mnc train", shlex.join([
            "--config", str(options.config), "--workdir", str(options.output),
            *list_changes(load_config(options.config), options.experiment)]))


def warn_of_other_reading(source: pathlib.Path, config: Config) -> None:
  """Warns of fields that `predict` reads and that `source`, a model of ours, has otherwise."""
  metadata = weights.read_metadata(source)
  if "config" not in metadata:
    return
  lines = changes.list_changes(weights.read_config(metadata, source), config,
                               fields=_READ_BY_PREDICT)
  if lines:
    warnings.warn("\n".join([
        f"{source} was trained and used with other options, and may find less with these:",
        *lines, "Give its own to use it as it was."]), stacklevel=3)


def list_changes(base: Any, config: Any, *, prefix: str = "--") -> list[str]:
  """Returns the options that make `config` of `base`, both the same dataclass."""
  options = []
  for field in dataclasses.fields(base):
    before, after = getattr(base, field.name), getattr(config, field.name)
    name = field.name.replace("_", "-")
    if dataclasses.is_dataclass(after):
      options += list_changes(before, after, prefix=f"{prefix}{name}.")
    elif isinstance(after, bool) and after != before:
      options.append(f"{prefix}{'' if after else 'no-'}{name}")
    elif after != before:
      options += [f"{prefix}{name}", *(str(number) for number in np.ravel(after))]
  return options


def choose_categories(options: ImportWeights) -> checkpoint.Categories:
  """Returns the categories given by --categories, by the source, or by the data set."""
  if options.categories:
    return read_names(options.categories)
  stored = weights.read_categories(weights.open_file(options.source).metadata, options.source)
  if stored and not (options.reset_categories or options.only_backbone):
    return checkpoint.Categories(*stored)
  try:
    return checkpoint.Categories(*load_categories(options.experiment.data))
  except ValueError as error:
    raise ValueError(f"the category names are unknown ({error}): give --categories FILE with one "
                     "name per line") from error


def read_names(path: pathlib.Path) -> checkpoint.Categories:
  """Reads a COCO annotation file (.json), or one name per line, with the ids 1, 2, ...

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it has no name, or one twice.
  """
  if not path.is_file():
    raise FileNotFoundError(f"--categories {path}: no such file")
  if path.suffix.lower() == ".json":
    # Its images are not needed, so their faults do not matter.
    coco = read_coco_file(path, report=lambda fault: None)
    return checkpoint.Categories(tuple(category["name"] for category in coco.categories),
                                 tuple(category["id"] for category in coco.categories))
  try:
    names = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
  except UnicodeDecodeError as error:
    raise ValueError(f"--categories {path}: not a text in UTF-8: {error}") from error
  repeated = [name for index, name in enumerate(names) if name in names[:index]]
  if repeated or not names:
    raise ValueError(f"--categories {path}: " + (
        f"the name {repeated[0]!r} appears twice" if repeated else "the file has no name"))
  return checkpoint.Categories(tuple(names), tuple(range(1, len(names) + 1)))
