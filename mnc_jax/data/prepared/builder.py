"""Prepares a data set: reads, checks and writes it once, as array_record files of TFDS."""

from collections.abc import Callable, Sequence
import contextlib
import functools
import io
import itertools
import pathlib

import tensorflow_datasets as tfds
from tqdm.auto import tqdm

from mnc_jax.coco.faults import Fault, FaultReport, check_share, describe
from mnc_jax.config.paths import as_local_path
from mnc_jax.data.images import DEFAULT_OPTIONS, ImageOptions
from mnc_jax.data.listing import ImageNotes, Listing
from mnc_jax.data.prepared import index
from mnc_jax.data.prepared.fingerprint import hash_annotations, hash_labels
from mnc_jax.data.prepared.image_notes import describe_notes
from mnc_jax.data.prepared.shared_images import describe_shared, hash_image

# Images per array_record file. The builder keeps their annotations in memory.
_SHARD = 1000


class SetBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
  """Writes the content of a listing: one builder for all data sets, each under its own name.

  TFDS's more usual `GeneratorBasedBuilder` collects a split before it writes it, and needs
  TensorFlow for that from one gigabyte on.
  """

  VERSION = tfds.core.Version(index.VERSION)

  def __init__(self, name: str, listing: Listing, faults: list[Fault], *,
               data_dir: str | pathlib.Path, source: str, arguments: Sequence[str],
               pixels: ImageOptions, allow_bad: bool):
    # TFDS declares one name per class.
    self.name = name  # pyright: ignore[reportAttributeAccessIssue]
    self._listing, self._faults, self._allow_bad = listing, faults, allow_bad
    self._pixels = pixels
    self._kept = {"images": 0, "annotations": 0}
    self._names: dict[str, dict[bytes, str]] = {}  # By split, and hash of the image.
    self._notes: list[tuple[str, ImageNotes]] = []  # With the names of the images.
    super().__init__(data_dir=data_dir, file_format="array_record")
    index.metadata_of(self).update(categories=listing.categories, source=source,
                                   options=list(arguments), pixels=pixels._asdict(),
                                   fingerprint=hash_annotations(source) if source else "",
                                   labels_fingerprint=hash_labels(source) if source else "")

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self, description="Images with instance masks as COCO RLE.",
        disable_shuffling=True, features=index.record_features(),
        metadata=tfds.core.MetadataDict())

  def _shard_iterators_per_split(self, dl_manager):
    del dl_manager  # Nothing is downloaded.
    return {split: self._shards(split, entries) for split, entries in self._listing.splits.items()}

  def _shards(self, split, entries):
    """Returns functions that give the examples of each shard, which are called in order."""
    examples = self._generate(split, entries)
    full = functools.partial(itertools.islice, examples, _SHARD)
    # The last takes all the rest, so that the generator reaches its end.
    return [full] * ((len(entries) - 1) // _SHARD) + [lambda: examples]

  def _generate(self, split, entries):
    kept, contents = [], []
    names = self._names.setdefault(split, {})
    for entry, content in self._read_sound(tqdm(entries, f"Preparing {split}", unit="image")):
      kept.append(entry)
      names.setdefault(hash_image(content), entry.file_name)
      contents.append(index.summarize_content(content))
      self._notes.append((entry.file_name, content.notes))
      yield len(kept), index.encode_example(entry, content)
    self._check(split, len(kept), sum(len(content.category_ids) for content in contents))
    # The folder still has its provisional name.
    index.write_index(pathlib.Path(self.data_dir), split, kept, contents)

  def _read_sound(self, entries):
    """Yields the entries that can be read, with their content."""
    place_of = {}
    for entry in entries:
      try:
        if entry.image_id in place_of:
          raise ValueError(f"{entry.file_name} has the image id {entry.image_id} of "
                           f"{place_of[entry.image_id]}")
        content = entry.read(self._faults.append)
      except ValueError as error:
        self._faults.append(Fault("image", str(error)))
      else:
        place_of[entry.image_id] = entry.file_name
        yield entry, content

  def _check(self, split, images, annotations):
    if not images:
      splits = self._listing.splits
      if sum(map(len, splits.values())) == 1 and not self._faults:
        raise ValueError(f"{self.name}: one image alone: two are needed, one of them for "
                         "validation")
      raise ValueError(f"{self.name}: no image of the split {split!r} can be used:\n"
                       f"{describe([fault.message for fault in self._faults])}")
    self._kept["images"] += images
    self._kept["annotations"] += annotations
    if split == list(self._listing.splits)[-1]:
      if not self._allow_bad:
        check_share(self._faults, **self._kept)
      odd = [describe_shared(self.name, self._names), *self._listing.describe(),
             *describe_notes(self._notes, self._pixels)]
      self._faults.extend(Fault("set", message) for message in odd if message)
      index.metadata_of(self)["skipped"] = [fault._asdict() for fault in self._faults]


def prepare_set(name: str, list_images: Callable[[pathlib.Path, FaultReport], Listing],
                source: str | pathlib.Path | None, data_dir: str | pathlib.Path, *,
                arguments: Sequence[str] = (), pixels: ImageOptions = DEFAULT_OPTIONS,
                allow_bad: bool = False) -> None:
  """Prepares a set under `index.set_folder(name, data_dir)`, unless it is there.

  It gets this name when it is complete; until then its folder is called `incomplete...`.

  Args:
    name: of the data set.
    list_images: lists the content of `source`, and reports what cannot be used.
    source: the folder of the data set; None if no folder is needed.
    data_dir: of all prepared sets.
    arguments: of the command line, if they change what `list_images` reads.
    pixels: which `list_images` reads, as the prepared set will.
    allow_bad: prepare also if more than 1 % of the images or annotations are bad.

  Raises:
    ValueError: if the source has another layout, a split has no image that can be used, or too
      many items are bad; if the existing set was prepared from another source, with other options,
      or from annotation files, lists or label images that have changed since, or other images lie
      beside these.
  """
  source = str(as_local_path(source, name="--source").resolve()) if source else ""
  if index.set_folder(name, data_dir).exists():
    _check_pixels(index.set_folder(name, data_dir), pixels)
    _check_source(index.set_folder(name, data_dir), source, list(arguments))
    return
  data_dir = as_local_path(data_dir, name="data.data_dir")
  faults: list[Fault] = []
  listing = list_images(pathlib.Path(source), faults.append)
  builder = SetBuilder(name, listing, faults, data_dir=data_dir, source=source,
                       arguments=arguments, pixels=pixels, allow_bad=allow_bad)
  try:
    # TFDS prints that it downloads, which it does not.
    with contextlib.redirect_stdout(io.StringIO()):
      builder.download_and_prepare()
  except OSError:
    # Another process, such as a host that shares the folder, may have finished the set first.
    if not index.set_folder(name, data_dir).exists():
      raise
    _check_source(index.set_folder(name, data_dir), source, list(arguments))


def _check_source(folder, source, arguments):
  """Rejects an existing set of another folder or other options, or of files that have changed."""
  metadata = index.metadata_of(tfds.builder_from_directory(folder))
  prepared_from = metadata["source"]
  if prepared_from != source:
    raise ValueError(f"{folder} was prepared from {prepared_from}, not from {source}: use another "
                     "data directory (--data-dir), or delete it")
  prepared_with = metadata.get("options", [])
  if prepared_with != arguments:
    raise ValueError(f"{folder} was prepared with {' '.join(prepared_with) or 'no options'}, not "
                     f"with {' '.join(arguments) or 'none'}: use another data directory "
                     "(--data-dir), or delete it")
  if source and metadata.get("fingerprint") != hash_annotations(source):
    raise ValueError(f"annotation files or lists in {source} have changed since {folder} was "
                     "prepared (or an older version of mnc_jax prepared it): delete it to prepare "
                     "the set again")
  # Versions before this hash prepared the same sets: these stay usable.
  if source and metadata.get("labels_fingerprint") not in (None, hash_labels(source)):
    raise ValueError(f"label images in {source}, or which images lie beside them, have changed "
                     f"since {folder} was prepared: delete it to prepare the set again")


def _check_pixels(folder, pixels):
  """Rejects an existing set of other pixels."""
  for name, value in index.pixels_of(tfds.builder_from_directory(folder))._asdict().items():
    if value != getattr(pixels, name):
      raise ValueError(f"{folder} was prepared with --{name} {as_argument(value) or '(none)'}, not "
                       f"{as_argument(getattr(pixels, name)) or '(none)'}: use another data "
                       "directory (--data-dir), or delete it")


def as_argument(value: str | int | tuple[int, ...]) -> str:
  """Returns the value of a field of `ImageOptions` as the command line takes it."""
  return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
