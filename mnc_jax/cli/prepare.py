"""mnc prepare: prepares a data set."""

import pathlib

from mnc_jax.cli.advice import describe_fit
from mnc_jax.cli.commands import Prepare
from mnc_jax.cli.parse import UsageError, usage_errors
from mnc_jax.config import DataConfig
from mnc_jax.data import prepare, read_index, set_folder, summarize
from mnc_jax.data.images import ImageOptions
from mnc_jax.data.reader_names import find_reader


def run(options: Prepare) -> None:
  """Prepares the set unless it exists, and prints what it holds."""
  with usage_errors():
    find_reader(options.dataset)
  if options.source is None and options.dataset != "shapes":
    raise UsageError(f"--dataset {options.dataset} needs --source DIR")
  folder = set_folder(options.dataset, options.data_dir)
  existed = folder.is_dir()
  if not existed:
    report_leftovers(folder)
  prepare(options.dataset, options.source, options.data_dir, allow_bad=options.allow_bad,
          split_components=options.split_components,
          pixels=ImageOptions(options.exif, options.page, options.channels))
  print(f"{folder} exists already: nothing was done. Delete it to prepare the set again."
        if existed else f"Prepared in {folder}:")
  print(summarize(folder))
  if options.dataset != "shapes":
    print(describe_fit(read_index(folder, "train"), train_options(options)), end="")


def train_options(options: Prepare) -> list[str]:
  """Returns the options of `mnc train` that read the prepared set."""
  given = [("dataset", options.dataset), ("data_dir", options.data_dir), ("exif", options.exif),
           ("page", options.page), ("channels", options.channels)]
  defaults = DataConfig()
  return [part for name, value in given
          if name == "dataset" or str(value) != str(getattr(defaults, name))
          for part in (f"--data.{name.replace('_', '-')}",
                       *(map(str, value) if isinstance(value, tuple) else [str(value)]))]


def report_leftovers(folder: pathlib.Path) -> None:
  """Prints which folders an interrupted preparation left; another may be running in them."""
  for path in sorted(folder.parent.glob("incomplete.*")):
    print(f"{path} is left from a preparation that was killed, or that is still running: delete it "
          "if none is running.")
