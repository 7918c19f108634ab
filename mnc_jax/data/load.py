"""Opens data sets: from a config, or from a folder in one of the formats of `reader_names`."""

import functools
import pathlib
from typing import Literal
import warnings

import tensorflow_datasets as tfds

from mnc_jax.coco.faults import count_noun, list_first
from mnc_jax.config import DataConfig
from mnc_jax.config.extensions import check_name
from mnc_jax.config.paths import as_local_path, is_remote
from mnc_jax.config.validation import check_channels
from mnc_jax.data.crowd import check_crowd, take_as_instances
from mnc_jax.data.images import DEFAULT_OPTIONS, ImageOptions, image_options
from mnc_jax.data.listing import TRAIN, VALIDATION
from mnc_jax.data.prepared.builder import as_argument, prepare_set
from mnc_jax.data.prepared.index import open_split, pixels_of, set_folder
from mnc_jax.data.reader_names import find_reader, has_reader
from mnc_jax.data.readers import coco, shapes
from mnc_jax.data.records import Source, restrict

_DRAWN = "shapes"  # Needs no files.


def prepare(dataset: str, source: str | pathlib.Path | None, data_dir: str | pathlib.Path, *,
            allow_bad: bool = False, split_components: bool = False,
            pixels: ImageOptions = DEFAULT_OPTIONS) -> None:
  """Prepares a data set in `data_dir`, from where `load_source` reads it.

  Does nothing if it is already there; see `prepare_set`. The modules of `readers/` describe the
  layouts of a source.

  Args:
    dataset: one of `DATASETS`, or registered (`register_reader`).
    source: its folder; not used for `shapes`.
    data_dir: of all prepared sets.
    allow_bad: prepare also if more than 1 % of the images or annotations are bad.
    split_components: of `label_images`: each connected part of a value is an instance.
    pixels: which are read; `load_source` needs a config with the same.

  Raises:
    ValueError: if there is no such data set or folder, or the folder cannot be used.
  """
  reader = find_reader(dataset)
  if dataset == _DRAWN:
    source = None
  elif source is None or not as_local_path(source, name="--source").is_dir():
    raise ValueError(f"there is no folder {source}")
  check_channels(pixels.channels, "--channels")
  if pixels.page < 0:
    raise ValueError(f"--page is {pixels.page}: pages are counted from 1 (0: files of one page)")
  list_images, arguments = functools.partial(reader.list_images, options=pixels), ()
  if split_components:
    if dataset != "label_images":
      raise ValueError(f"--split-components is for label_images, not for {dataset}")
    list_images = functools.partial(list_images, split_components=True)
    arguments = ("--split-components",)
  prepare_set(dataset, list_images, source, data_dir, arguments=arguments,
              pixels=pixels, allow_bad=allow_bad)


def load_source(config: DataConfig, split: Literal["train", "eval"]) -> Source:
  """Returns the images of a `split`: to train on or to evaluate on.

  A data set `coco` is read from its files if any path of `config` names one, and otherwise
  as it was prepared. `shapes` is prepared if it is not; its evaluation images need no files.

  Raises:
    ValueError: if a path is missing, does not exist, or is given to a set that reads none,
      naming the field; if the set is not prepared; if the annotations or `config.image_ids` do
      not fit; if the split is empty or has crowd regions alone, or the training split has no
      annotations.
  """
  if split not in ("train", "eval"):
    raise ValueError(f"split {split!r}: 'train' or 'eval'")
  source = _open(config, split)
  if config.crowd_as_instances:
    source = take_as_instances(source)
  if not len(source):
    raise ValueError(f"{source.name} has no images")
  source = restrict(source, config.image_ids) if config.image_ids else source
  if split == "train" and not source.instance_counts.any():
    raise ValueError(f"{source.name} has {count_noun(len(source), 'image')}, but no instance: "
                     "there is nothing to learn")
  check_crowd(source)
  return source


def warn_of_shared_images(train: Source, evaluation: Source, config: DataConfig) -> None:
  """Warns of files that are in both splits of a set that is read directly.

  A prepared set was checked by content when it was prepared. One annotation file for both splits
  is no mistake, but a way to see whether a few images can be learned.
  """
  same_folder = config.train_images and pathlib.Path(config.train_images).resolve() == (
      pathlib.Path(config.eval_images).resolve())
  if not same_folder or train.name == evaluation.name:
    return
  known = set(train.file_names)
  shared = [name for name in evaluation.file_names if name in known]
  if shared:
    warnings.warn(
        f"{len(shared)} of {len(evaluation)} evaluation images are training images too: "
        f"{list_first(shared)} (data.eval_annotations and data.train_annotations): scores of "
        "images that were trained on say nothing about others", stacklevel=2)


def load_categories(config: DataConfig) -> tuple[tuple[str, ...], tuple[int, ...]]:
  """Returns `(names, ids)` of the categories of a data set, even if it is not there.

  Raises:
    ValueError: if they are in files (COCO format), and these cannot be read.
  """
  names = find_reader(config.dataset).category_names if has_reader(config.dataset) else None
  if names is None:
    source = _open(config, "train")
    return source.category_names, source.category_ids
  return names, tuple(range(1, len(names) + 1))


def _open(config, split):
  check_name("data.dataset", config.dataset)
  folder = set_folder(config.dataset, config.data_dir)
  if not folder.is_dir():
    find_reader(config.dataset)
  if any((config.train_annotations, config.train_images, config.eval_annotations,
          config.eval_images)):
    if config.dataset != "coco":
      raise ValueError(
          f"data.dataset is {config.dataset!r}, but files of a COCO set are given "
          "(data.train_annotations and the like): set data.dataset coco, or omit them")
    return _load_files(config, split)
  if config.dataset == _DRAWN and split == "eval" and not folder.is_dir():
    return shapes.draw_validation()  # Evaluating shipped weights leaves no files.
  if config.dataset == _DRAWN:
    prepare(config.dataset, None, config.data_dir, pixels=image_options(config))
  if not folder.is_dir():
    raise ValueError(_explain_unprepared(config, folder))
  _check_pixels(folder, image_options(config))
  return open_split(folder, TRAIN if split == "train" else VALIDATION)


def _load_files(config, split):
  """Returns the images of a split that the config names by its files, in COCO's format."""
  return coco.load_coco(_existing_path(config, f"{split}_annotations", pathlib.Path.is_file),
                        _existing_path(config, f"{split}_images", pathlib.Path.is_dir),
                        options=image_options(config))


def _explain_unprepared(config, folder):
  directly = ("; or give data.train_annotations and data.train_images (and data.eval_...) to "
              "read the files directly" if config.dataset == "coco" else "")
  older = ", ".join(sorted(path.name for path in folder.parent.glob("[0-9]*"))
                    if folder.parent.is_dir() else ())
  return (
      f"the data set {config.dataset!r} is not prepared in "
      f"{folder if is_remote(folder) else folder.absolute()}"
      f"{f' (what is there is of another version, {older})' if older else ''}: run "
      f"mnc prepare --dataset {config.dataset} --source DIR "
      f"--data-dir {config.data_dir}{directly}; or, if it is prepared elsewhere, give that "
      "folder by --data.data-dir")


def _check_pixels(folder, pixels):
  """Rejects a prepared set of other pixels than the config names."""
  for name, value in pixels_of(tfds.builder_from_directory(folder))._asdict().items():
    if value != getattr(pixels, name):
      needed = f"give --data.{name} {as_argument(value)}" if value else f"leave --data.{name} out"
      raise ValueError(
          f"{folder} was prepared with --{name} {as_argument(value) or '(none)'}, but data.{name} "
          f"is {as_argument(getattr(pixels, name)) or '(none)'}: {needed}, or prepare the set "
          "again")


def _existing_path(config, field, exists):
  name = f"data.{field}"
  if not getattr(config, field):
    raise ValueError(f"{name} is missing; the data set {config.dataset!r} needs it")
  path = as_local_path(getattr(config, field), name=name)
  if not exists(path):
    kind = "file" if exists is pathlib.Path.is_file else "folder"
    raise ValueError(f"{name}: there is no {kind} {path}")
  return path
