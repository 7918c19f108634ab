"""The doors to the data: from a config to a source, and from a folder to a prepared set."""

import pathlib
from typing import Literal

from mnc_jax.config import DataConfig
from mnc_jax.data.listing import TRAIN, VALIDATION
from mnc_jax.data.prepared.builder import prepare_set
from mnc_jax.data.prepared.index import open_split, set_folder
from mnc_jax.data.readers import drawing, label_images, sbd
from mnc_jax.data.readers.coco import list_coco, load_coco
from mnc_jax.data.readers.label_images import list_label_images
from mnc_jax.data.readers.sbd import list_sbd
from mnc_jax.data.records import Source, restrict
from mnc_jax.data.shapes import list_shapes, load_shapes

_LISTS = {"coco": list_coco, "label_images": list_label_images, "sbd": list_sbd}
DATASETS = ("shapes", *_LISTS)


def prepare(dataset: str, source: str | pathlib.Path | None, data_dir: str | pathlib.Path,
            *, allow_bad: bool = False) -> None:
  """Prepares a data set in `data_dir`, from where `load_source` reads it.

  Does nothing if it is there. See `prepare_set`; the layouts of a source are told in
  `coco.py`, `sbd.py` and `label_images.py`.

  Args:
    dataset: one of `DATASETS`.
    source: its folder; None for `shapes`.
    data_dir: of all prepared sets.
    allow_bad: prepare also if more than 1 % of the images or annotations are bad.

  Raises:
    ValueError: if there is no such data set or folder, or the folder cannot be used.
  """
  if dataset == "shapes":
    prepare_set(dataset, list_shapes, "", data_dir)
  elif dataset not in _LISTS:
    raise ValueError(f"data set {dataset!r} is not known: {', '.join(DATASETS)}")
  elif source is None or not pathlib.Path(source).is_dir():
    raise ValueError(f"there is no folder {source}")
  else:
    prepare_set(dataset, _LISTS[dataset], source, data_dir, allow_bad=allow_bad)


def load_source(config: DataConfig, split: Literal["train", "eval"]) -> Source:
  """Returns the images of a `split`: to train on or to evaluate on.

  A data set `coco` is read from its files if any path of `config` names one, and otherwise
  as it was prepared.

  Raises:
    ValueError: if a path is not given, does not exist, or is given to a set that reads none,
      naming the field; if the set is not prepared; if the annotations or `config.image_ids` do
      not fit; if the split is empty, or nothing is annotated in what is to be trained on.
  """
  if split not in ("train", "eval"):
    raise ValueError(f"split {split!r}: 'train' or 'eval'")
  source = _open(config, split)
  if not len(source):
    raise ValueError(f"{source.name} has no images")
  if split == "train" and not source.instance_counts.any():
    raise ValueError(f"{source.name} has {len(source)} images, but no instance in any of them: "
                     "there is nothing to learn")
  return restrict(source, config.image_ids) if config.image_ids else source


def load_categories(config: DataConfig) -> tuple[tuple[str, ...], tuple[int, ...]]:
  """Returns `(names, ids)` of the categories of `config`'s set, even if it is not there.

  Raises:
    ValueError: if they stand in files (COCO format), and these cannot be read.
  """
  if config.dataset == "coco":
    source = _open(config, "train")
    return source.category_names, source.category_ids
  names = {"shapes": drawing.CATEGORY_NAMES, "sbd": sbd.CATEGORY_NAMES,
           "label_images": label_images.CATEGORY_NAMES}[config.dataset]
  return names, tuple(range(1, len(names) + 1))


def _open(config, split):
  prepared_split = TRAIN if split == "train" else VALIDATION
  if config.dataset != "coco" and _names_files(config):
    raise ValueError(f"data.dataset is {config.dataset!r}, but files of a COCO set are given "
                     "(data.train_annotations and the like): set data.dataset coco, or leave them")
  if config.dataset == "shapes":
    return load_shapes(config.data_dir, prepared_split)
  if config.dataset == "coco" and _names_files(config):
    annotations = _existing_path(config, f"{split}_annotations", pathlib.Path.is_file)
    return load_coco(annotations, _existing_path(config, f"{split}_images", pathlib.Path.is_dir))
  if config.dataset in _LISTS:
    return open_split(_prepared_folder(config), prepared_split)
  raise ValueError(f"data.dataset {config.dataset!r} is not known: {', '.join(DATASETS)}")


def _names_files(config):
  return any((config.train_annotations, config.train_images,
              config.eval_annotations, config.eval_images))


def _prepared_folder(config):
  folder = set_folder(config.dataset, config.data_dir)
  if not folder.is_dir():
    directly = ("; or give data.train_annotations and data.train_images (eval_... likewise) to "
                "read the files directly" if config.dataset == "coco" else "")
    raise ValueError(
        f"the data set {config.dataset!r} is not prepared in {folder}: run "
        f"mnc prepare --dataset {config.dataset} --source DIR "
        f"--data-dir {config.data_dir}{directly}")
  return folder


def _existing_path(config, field, exists):
  path = getattr(config, field)
  if not path:
    raise ValueError(f"data.{field} is not given; the data set {config.dataset!r} needs it")
  if not exists(pathlib.Path(path)):
    kind = "file" if exists is pathlib.Path.is_file else "folder"
    raise ValueError(f"data.{field}: there is no {kind} {path}")
  return path
