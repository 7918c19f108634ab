"""Makes a checkpoint of others' weights: mnc import-weights SOURCE --config FILE --output DIR.

SOURCE may be VGG-16 (.npz, Keras .h5, torchvision or timm .safetensors and .pth, Caffe's
.caffemodel or .caffemodel.h5), ResNet-50 or -101 (torchvision or timm), the authors' released
five-stage model, or a model of mnc export; what it is, is read from its content. DIR is
then a --workdir that mnc predict, mnc evaluate and mnc train take. What the source lacks is
initialised, and told.
"""

import argparse
import pathlib
import shlex
import time

import jax

from mnc_jax import weights
from mnc_jax.cli.options import load_config, override
from mnc_jax.config import with_categories
from mnc_jax.data import load_categories
from mnc_jax.data.readers.coco_file import read_coco_file
from mnc_jax.model.cascade import init_params
from mnc_jax.training import checkpoint
from mnc_jax.weights.self_check import record_numbers


def main(arguments) -> None:
  """Reads the source, initialises the rest, and writes step 0 of a run."""
  options, overrides = read_options(arguments)
  started = time.perf_counter()
  config = override(load_config(options.config), overrides, "mnc import-weights SOURCE ...")
  checkpoint.check_free(options.output)
  categories = choose_categories(options, config)
  config = with_categories(config, categories.category_names)
  key = jax.random.key(config.train.seed)
  params, report = weights.load_pretrained(
      jax.eval_shape(lambda: init_params(key, config)), options.source, config=config.model,
      reset_categories=options.reset_categories, only_backbone=options.only_backbone,
      category_names=categories.category_names)
  params = weights.move_to_device(weights.initialise_missing(params, key, config))
  checkpoint.save_model(options.output, params, config, categories, notes={
      "source": f"{report.kind}: {options.source.name}",
      "self_check": record_numbers(params, config)})
  print(f"{report}\n{options.output}: a checkpoint of step 0, "
        f"{time.perf_counter() - started:.0f} seconds. Train it further with\n  "
        f"mnc train --config {options.config} --workdir {options.output}",
        shlex.join(overrides))


def read_options(arguments):
  """Returns the options and what is left for config overrides."""
  parser = argparse.ArgumentParser(
      description=__doc__, allow_abbrev=False, formatter_class=argparse.RawTextHelpFormatter,
      epilog="Config fields can be overridden: --model.dense-width 1024 ...")
  parser.add_argument("source", type=pathlib.Path, metavar="SOURCE")
  parser.add_argument("--config", type=pathlib.Path, required=True, metavar="FILE")
  parser.add_argument("--output", type=pathlib.Path, required=True, metavar="DIR")
  parser.add_argument("--reset-categories", action="store_true",
                      help="initialise the category layers if the source has other categories")
  parser.add_argument("--only-backbone", action="store_true",
                      help="take the shared features alone, not the layers behind them")
  parser.add_argument("--categories", type=pathlib.Path, metavar="FILE",
                      help="names, one a line without background, numbered 1, 2, ...; or a COCO\n"
                      "instances_*.json, with its ids (default: those of the source, or of the\n"
                      "data set)")
  return parser.parse_known_args(arguments)


def choose_categories(options, config) -> checkpoint.Categories:
  """Returns the categories named on the command line, in the source, or by the data set."""
  if options.categories:
    return read_names(options.categories)
  told = weights.read_categories(weights.open_file(options.source).metadata, options.source)
  if told and not (options.reset_categories or options.only_backbone):
    return checkpoint.Categories(*told)
  try:
    return checkpoint.Categories(*load_categories(config.data))
  except ValueError as error:
    raise ValueError(f"what the categories are called is not known ({error}): give --categories "
                     "FILE with a name a line") from error


def read_names(path: pathlib.Path) -> checkpoint.Categories:
  """Reads a COCO annotation file (.json), or a name a line, whose ids are then 1, 2, ...

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it has no name, or one twice.
  """
  if not path.is_file():
    raise FileNotFoundError(f"--categories {path}: no such file")
  if path.suffix == ".json":
    # Of its images nothing is asked.
    coco = read_coco_file(path, report=lambda fault: None)
    return checkpoint.Categories(tuple(category["name"] for category in coco.categories),
                                 tuple(category["id"] for category in coco.categories))
  try:
    names = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
  except UnicodeDecodeError as error:
    raise ValueError(f"--categories {path}: no text in UTF-8: {error}") from error
  twice = [name for place, name in enumerate(names) if name in names[:place]]
  if twice or not names:
    raise ValueError(f"--categories {path}: " + (
        f"the name {twice[0]!r} stands twice" if twice else "there is no name in it"))
  return checkpoint.Categories(tuple(names), tuple(range(1, len(names) + 1)))
