"""From a source to `(Batch, ImageInfo)` of numpy arrays, by grain.

Batches are planned first (`plan.py`) and then loaded, each as one element with random access:
so the content of batch n depends on the seed and n alone, not on the number of threads, workers
or processes, and a run resumes from any step without a saved position.
"""

import dataclasses
import functools
import os
import warnings

from absl import flags
import grain
import numpy as np

from mnc_jax.config import DataConfig
from mnc_jax.config.ranges import check_augmentation
from mnc_jax.data import scaling
from mnc_jax.data.pipeline import plan as planning
from mnc_jax.data.pipeline.loading import Loader, load_evaluation_batch, load_training_batch
from mnc_jax.data.pipeline.repeats import repeat_factors
from mnc_jax.data.pipeline.workers import follow_parent
from mnc_jax.data.records import Source

_ENDLESS = 2 ** 40  # Steps of a training run.
_BATCHES_AHEAD = 4  # Prefetched by each process that loads.


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
  a quarter of its range of intensities is reported. Warns of `config.copy_paste` without any image
  to paste from.

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
    _warn_of_no_donor(source, donors)
    loader = dataclasses.replace(loader, ignored=_most_ignored(source, config))
  plan = planning.TrainingPlan(loader.buckets, batch_size, seed, repeats, donors)
  batches = grain.MapDataset.range(first_step, _ENDLESS).map(
      functools.partial(load_training_batch, loader, plan))
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
      functools.partial(load_evaluation_batch, loader, rows))
  return _prefetch(batches, config).map(functools.partial(_report, source, _Reported()))


def count_evaluation_batches(source: Source, config: DataConfig, *, batch_size: int) -> int:
  """Returns how many `evaluation_batches` there are; no image is read."""
  sizes = scaling.scaled_sizes(source.sizes, config.short_side, config.long_side)
  buckets = scaling.choose_buckets(sizes, config.padded_sizes, source.image_ids)
  return len(planning.evaluation_rows(buckets, batch_size))


def _make_loader(source, config, batch_size, process_index, process_count, crop=None):
  if not len(source):
    raise ValueError(f"{source.name} has no images")
  part = planning.process_slice(batch_size, process_index, process_count)
  scales = scaling.scale_factors(source.sizes, config.short_side, config.long_side)
  sizes = scaling.scaled_sizes(source.sizes, config.short_side, config.long_side)
  exact_scales = sizes / source.sizes
  if crop:
    sizes = np.minimum(sizes, crop)
  buckets = scaling.choose_buckets(sizes, config.padded_sizes, source.image_ids)
  excess = np.maximum(source.instance_counts - config.max_instances, 0)
  if excess.any():
    _warn_of_excess(source, config, excess)
  return Loader(source, config, part, scales, exact_scales, sizes, buckets, int(excess.max()))


def _warn_of_excess(source, config, excess):
  warnings.warn(
      f"{source.name}: {np.count_nonzero(excess)} images have more than data.max_instances = "
      f"{config.max_instances} instances (up to {source.instance_counts.max()}); the "
      f"{excess.sum()} smallest of them are neither objects nor background in the losses",
      stacklevel=4)


def _warn_of_no_donor(source, donors):
  if len(source) == 1 or not donors.any():
    found = "one image" if len(source) == 1 else "no image with an instance (crowd regions aside)"
    warnings.warn(f"{source.name} has {found}: data.copy_paste has no effect, since instances of "
                  "another image are pasted", stacklevel=3)


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
