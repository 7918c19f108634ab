"""mnc prepare: prepares a data set."""

import pathlib

from mnc_jax.cli.commands import Prepare
from mnc_jax.cli.parse import UsageError
from mnc_jax.data import prepare, set_folder, summarize
from mnc_jax.data.images import ImageOptions


def run(options: Prepare) -> None:
  """Prepares the set unless it exists, and prints what it holds."""
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


def report_leftovers(folder: pathlib.Path) -> None:
  """Prints which folders an interrupted preparation left; another may be running in them."""
  for path in sorted(folder.parent.glob("incomplete.*")):
    print(f"{path} is left from a preparation that was killed, or that is still running: delete it "
          "if none is running.")
