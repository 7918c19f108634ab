"""From a source to `(Batch, ImageInfo)` of numpy arrays, by grain.

Batches are planned first (`plan.py`) and then loaded, each as one element with random access:
so the content of batch n depends on the seed and n alone, not on the number of threads, workers
or processes, and a run resumes from any step without a saved position.
"""

import dataclasses
import functools
import os
from typing import NamedTuple
import warnings

from absl import flags
import grain
import numpy as np

from mnc_jax.config import DataConfig
from mnc_jax.config.ranges import check_augmentation
from mnc_jax.data import augment, paste, transforms
from mnc_jax.data.pipeline import plan as planning
from mnc_jax.data.pipeline.repeats import repeat_factors
from mnc_jax.data.pipeline.workers import follow_parent
from mnc_jax.data.records import BrokenImageError, Source
from mnc_jax.structs import MASK_SIDE, Batch, ImageInfo

_ENDLESS = 2 ** 40  # Steps of a training run.
_BATCHES_AHEAD = 4  # Prefetched by each process that loads.


@dataclasses.dataclass(frozen=True, eq=False)
class _Loader:
  """What every batch needs."""
  source: Source
  config: DataConfig
  part: slice  # The slots of a batch that this process loads.
  scales: np.ndarray  # [N] network pixels per pixel of the file, before sides are rounded.
  exact_scales: np.ndarray  # [N, 2] the same per axis, after it.
  sizes: np.ndarray  # [N, 2] (height, width) of each image at network scale.
  buckets: np.ndarray  # [N] bucket of each image.
  ignored: int  # Instances beyond `max_instances` of the image that has most of them.


class _Findings(NamedTuple):
  """What loading a batch met: messages by row."""
  broken: dict[int, str]
  small_ranges: dict[int, str]


@dataclasses.dataclass
class _Reported:
  """What was reported before."""
  broken: set[int] = dataclasses.field(default_factory=set)
  small_range: bool = False


def training_batches(source: Source, config: DataConfig, *, seed: int, batch_size: int,
                     first_step: int = 0, process_index: int = 0,
                     process_count: int = 1) -> grain.IterDataset:
  """Returns endless shuffled batches, with the random changes of `config`.

  An image that cannot be read is skipped with a warning: its slot in the batch is invalid (image
  size (0, 0), image id -1). Without `config.stretch_contrast`, the first image that uses less than
  a quarter of its range of intensities is reported.

  Args:
    source: the images.
    config: sizes, buckets and number of workers.
    seed: of the order and of all changes. The same seed gives the same batches.
    batch_size: images per batch, over all processes.
    first_step: batches to skip at the start: the steps that a resumed run has done.
    process_index: the part of each batch to load.
    process_count: number of parts of a batch.

  Returns:
    An iterable of (`Batch`, `ImageInfo`); the first axis is batch_size / process_count.
    `ImageInfo.scales` are those before `config.scale_jitter`.

  Raises:
    ValueError: if the source is empty, an image fits into no bucket, or the batch cannot be
      divided. While iterating: if no image of the source can be read.
  """
  check_augmentation(config)
  crop = config.crop_size if any(config.crop_size) else None
  if crop:
    config = dataclasses.replace(config, buckets=(crop,))
  loader = _make_loader(source, config, batch_size, process_index, process_count, crop)
  repeats = repeat_factors(source, config.repeat_below) if config.repeat_below else None
  donors = None
  if config.copy_paste:
    donors = source.instance_counts > source.crowd_counts
    loader = dataclasses.replace(loader, ignored=_most_ignored(source, config))
  plan = planning.TrainingPlan(loader.buckets, batch_size, seed, repeats, donors)
  batches = grain.MapDataset.range(first_step, _ENDLESS).map(
      functools.partial(_load_training_batch, loader, plan))
  # Here, in one process, since each worker loads only a share of the batches.
  return _prefetch(batches, config).map(functools.partial(_report, source, _Reported()))


def evaluation_batches(source: Source, config: DataConfig, *, batch_size: int,
                       process_index: int = 0, process_count: int = 1) -> grain.IterDataset:
  """Returns batches with every image exactly once, in order within each bucket.

  Empty slots in the last batch of a bucket are invalid (image size (0, 0), image id -1).
  Arguments, result and errors are those of `training_batches`, but an image that cannot be read
  is an error.
  """
  loader = _make_loader(source, config, batch_size, process_index, process_count)
  rows = planning.evaluation_rows(loader.buckets, batch_size)
  batches = grain.MapDataset.range(len(rows)).map(
      functools.partial(_load_evaluation_batch, loader, rows))
  return _prefetch(batches, config).map(functools.partial(_report, source, _Reported()))


def count_evaluation_batches(source: Source, config: DataConfig, *, batch_size: int) -> int:
  """Returns the number of `evaluation_batches`."""
  sizes = transforms.scaled_sizes(source.sizes, config.short_side, config.long_side)
  buckets = transforms.choose_buckets(sizes, config.padded_sizes, source.image_ids)
  return len(planning.evaluation_rows(buckets, batch_size))


def _make_loader(source, config, batch_size, process_index, process_count, crop=None):
  if not len(source):
    raise ValueError(f"{source.name} has no images")
  part = planning.process_slice(batch_size, process_index, process_count)
  scales = transforms.scale_factors(source.sizes, config.short_side, config.long_side)
  sizes = transforms.scaled_sizes(source.sizes, config.short_side, config.long_side)
  exact_scales = sizes / source.sizes
  if crop:
    sizes = np.minimum(sizes, crop)
  buckets = transforms.choose_buckets(sizes, config.padded_sizes, source.image_ids)
  excess = np.maximum(source.instance_counts - config.max_instances, 0)
  if excess.any():
    warnings.warn(
        f"{source.name}: {np.count_nonzero(excess)} images have more than data.max_instances = "
        f"{config.max_instances} instances (up to {source.instance_counts.max()}); the "
        f"{excess.sum()} smallest of them are neither objects nor background in the losses",
        stacklevel=3)
  return _Loader(source, config, part, scales, exact_scales, sizes, buckets, int(excess.max()))


def _most_ignored(source, config):
  """Returns how many instances an image may have beyond `max_instances` after a paste."""
  pasted = min((source.instance_counts - source.crowd_counts).max(), config.max_instances)
  return max(int(source.instance_counts.max() + pasted) - config.max_instances, 0)


def _prefetch(batches, config):
  threads = min(os.cpu_count() or 1, 8)
  dataset = batches.to_iter_dataset(grain.ReadOptions(
      num_threads=threads, prefetch_buffer_size=max(threads, _BATCHES_AHEAD)))
  if config.num_workers:
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()  # Grain's workers read absl flags, also where no one uses any.
    dataset = dataset.mp_prefetch(
        grain.MultiprocessingOptions(num_workers=config.num_workers), follow_parent)
  return dataset


def _load_training_batch(loader, plan, step):
  rows, flips = planning.training_rows(plan, step)
  slots = range(len(rows))[loader.part]
  rows, flips = rows[loader.part], flips[loader.part] & loader.config.flip
  found = _Findings({}, {})
  examples = [_load_or_skip(loader, plan, row, step, slot, found)
              for row, slot in zip(rows, slots, strict=True)]
  examples = [transforms.flip_example(example) if flip and example else example
              for example, flip in zip(examples, flips, strict=True)]
  return _collate(loader, rows, examples, loader.buckets[rows[0]]), found


def _load_evaluation_batch(loader, plan_rows, step):
  rows = plan_rows[step]
  # The first of the whole batch is never a filler.
  bucket = loader.buckets[rows[0]]
  rows = rows[loader.part]
  found = _Findings({}, {})
  examples = [None if row == planning.FILLER else _load(loader, row, found) for row in rows]
  return _collate(loader, rows, examples, bucket), found


def _load(loader, row, found):
  return transforms.resize_record(_read(loader, row, found), tuple(loader.sizes[row]))


def _read(loader, row, found):
  record, source = loader.source[int(row)], loader.source
  message = transforms.describe_range(
      record.image, f"{source.name}: image {source.image_ids[row]}", loader.config)
  if message:
    found.small_ranges[int(row)] = message
  return record._replace(image=transforms.adapt_image(record.image, loader.config))


def _load_or_skip(loader, plan, row, step, slot, found):
  """Returns the example in a slot of a step; None if it is broken."""
  bucket = loader.config.padded_sizes[loader.buckets[row]]
  view = _view_or_skip(loader, row, planning.slot_rng(plan, step, slot), bucket, found)
  if view is None:
    return None
  if loader.config.copy_paste:
    rng = planning.paste_rng(plan, step, slot)
    donor = _donor_or_none(loader, plan, row, rng, view.image.shape[:2], found)
    if donor:
      return paste.paste_view(rng, view, donor, max_instances=loader.config.max_instances)
  return transforms.make_example(view.record, view.image)


def _donor_or_none(loader, plan, row, rng, size, found):
  """Returns a view of another image, at most of `size`, to paste on that of `row`, or None."""
  if rng.random() >= loader.config.copy_paste:
    return None
  donor = planning.draw_donor(plan, rng, row)
  view = None if donor is None else _view_or_skip(loader, donor, rng, size, found)
  flips = loader.config.flip and rng.random() < 0.5
  return augment.flip_view(view) if view and flips else view


def _view_or_skip(loader, row, rng, bucket, found):
  """Returns a random view; None if the image is broken, with the reason in `found.broken`."""
  try:
    return augment.draw_view(rng, _read(loader, row, found), loader.config,
                             scale=loader.scales[row], bucket=bucket)
  except BrokenImageError as error:
    found.broken[int(row)] = str(error)
    return None


def _report(source, reported, loaded):
  """Returns the batch; warns of each broken image once, and raises when all are broken."""
  batch, found = loaded
  for row in found.broken.keys() - reported.broken:
    reported.broken.add(row)
    warnings.warn(f"skipped in training, {len(reported.broken)} so far: {found.broken[row]}",
                  stacklevel=2)
  if len(reported.broken) == len(source):
    raise ValueError(
        f"{source.name}: no image can be read, the last: {[*found.broken.values()][-1]}")
  if found.small_ranges and not reported.small_range:
    reported.small_range = True
    warnings.warn(next(iter(found.small_ranges.values())), stacklevel=2)
  return batch


def _collate(loader, rows, examples, bucket):
  count, size = loader.config.max_instances, loader.config.padded_sizes[bucket]
  present = np.array([example is not None for example in examples])
  found = [example or _EMPTY for example in examples]
  filled, ignored = zip(*(transforms.keep_largest(e, count) for e in found), strict=True)
  stacked = {name: np.stack([transforms.pad_rows(getattr(e, name), count) for e in filled])
             for name in transforms.Example._fields[1:]}
  batch = Batch(
      images=np.stack([transforms.pad_image(e.image, size) for e in filled]),
      image_sizes=np.array([e.image.shape[:2] for e in filled], np.int32),
      valid=np.arange(count) < np.array([[len(e.labels)] for e in filled]),
      ignored_boxes=np.stack([transforms.pad_rows(boxes, loader.ignored) for boxes in ignored]),
      **stacked)
  return batch, _describe(loader, rows, present, list(map(len, ignored)))


def _describe(loader, rows, present, dropped):
  source = loader.source
  return ImageInfo(
      image_ids=np.where(present, source.image_ids[rows], -1),
      original_sizes=np.where(present[:, None], source.sizes[rows], 0).astype(np.int32),
      scales=np.where(present[:, None], loader.exact_scales[rows], 0.0),
      dropped=np.array(dropped, np.int32))


_EMPTY = transforms.Example(
    image=np.zeros((0, 0, 3), np.uint8), boxes=np.zeros((0, 4), np.float32),
    labels=np.zeros(0, np.int32), areas=np.zeros(0, np.float32), crowd=np.zeros(0, bool),
    masks=np.zeros((0, MASK_SIDE, MASK_SIDE), np.uint8))
