"""Prepares a data set: mnc prepare --dataset NAME --source DIR --data-dir DIR [--allow-bad].

Images and annotations are read, checked and written once; training reads them at random from
there. Layouts that --source may have:

  coco          [annotations/]instances_train*.json and instances_val*.json, or a single file of
                any name, which is split; images of instances_X.json in X/ or images/X/ (for
                train2017 also train/, for val2017 also val/), in images/, or in DIR itself
  sbd           img/*.jpg inst/*.mat train.txt val.txt (SBD, SDS), or a VOCdevkit with VOC2012
  label_images  images/* labels/*.png [train.txt val.txt], each value of a label an instance
  shapes        needs no source
"""

import argparse
import pathlib

from mnc_jax.data import DATASETS, prepare, set_folder, summarize


def main(arguments) -> None:
  """Prepares the set unless it is there, and prints what it holds."""
  options = parse(arguments)
  folder = set_folder(options.dataset, options.data_dir)
  before = folder.is_dir()
  if not before:
    tell_leftovers(folder)
  prepare(options.dataset, options.source, options.data_dir, allow_bad=options.allow_bad)
  print(f"{folder} is prepared already: nothing was done. Delete it to prepare it anew." if before
        else f"Prepared in {folder}:")
  print(summarize(folder))


def parse(arguments) -> argparse.Namespace:
  """Reads the options; `shapes` alone does without a source."""
  parser = argparse.ArgumentParser(
      description=__doc__, allow_abbrev=False,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--dataset", choices=DATASETS, required=True)
  parser.add_argument("--source", metavar="DIR", type=pathlib.Path, help="where the files are")
  parser.add_argument("--data-dir", metavar="DIR", type=pathlib.Path, default=pathlib.Path("data"),
                      help="where prepared sets are kept: data.data_dir of a config (%(default)s)")
  parser.add_argument("--allow-bad", action="store_true",
                      help="also if more than 1 %% of the images or annotations cannot be used")
  options = parser.parse_args(arguments)
  if options.source is None and options.dataset != "shapes":
    parser.error(f"--dataset {options.dataset} needs --source DIR")
  return options


def tell_leftovers(folder: pathlib.Path) -> None:
  """Says which folders a preparation left that was killed; another may be at work in them."""
  for path in sorted(folder.parent.glob("incomplete.*")):
    print(f"{path} is of a preparation that was killed, or is still running: "
          "delete it if none is running.")
