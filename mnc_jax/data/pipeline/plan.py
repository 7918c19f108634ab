"""The images of each batch: arrays of row numbers, from a seed, without reading any image.

All images of a batch are of one bucket, so that they have one padded size.
"""

import dataclasses
import functools

import numpy as np

FILLER = -1  # A slot of a batch without an image.


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingPlan:
  """Endless shuffled batches; see `training_rows`.

  Attributes:
    buckets: [N] bucket of each image of the source.
    batch_size: images per batch, over all processes.
    seed: root of the order and of the flips.
  """
  buckets: np.ndarray
  batch_size: int
  seed: int

  @property
  def batches_per_epoch(self) -> int:
    """Full batches of all buckets together."""
    return sum(_batch_count(len(rows), self.batch_size) for rows in _by_bucket(self.buckets))


def training_rows(plan: TrainingPlan, step: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns rows [batch_size] of the source and flips [batch_size] bool of a step of `plan`.

  Each epoch is one pass over the shuffled images of each bucket, without the remainder that does
  not fill a batch: other images in each epoch. A bucket with fewer images than a batch gives one
  batch per epoch, in which images are repeated.
  """
  epoch, index = divmod(step, plan.batches_per_epoch)
  flips = np.random.default_rng([plan.seed, epoch, 1, index]).random(plan.batch_size) < 0.5
  return _epoch_rows(plan, epoch)[index], flips


def slot_rng(plan: TrainingPlan, step: int, slot: int) -> np.random.Generator:
  """Returns the generator of all other random changes of the image in a `slot` of a step."""
  return np.random.default_rng([plan.seed, step, slot, 2, 1])


@functools.lru_cache(maxsize=4)  # Drawn once per epoch, not once per batch.
def _epoch_rows(plan: TrainingPlan, epoch: int) -> np.ndarray:
  rng = np.random.default_rng([plan.seed, epoch, 0])
  batches = [
      np.resize(rng.permutation(rows), (_batch_count(len(rows), plan.batch_size), plan.batch_size))
      for rows in _by_bucket(plan.buckets)]
  return rng.permutation(np.concatenate(batches))


def evaluation_rows(buckets: np.ndarray, batch_size: int) -> np.ndarray:
  """Returns [number of batches, batch_size]: each image once, in order within its bucket.

  `buckets` holds that of each image. The last batch of a bucket is filled up with `FILLER`.
  """
  batches = []
  for rows in _by_bucket(buckets):
    padded = np.full(-(-len(rows) // batch_size) * batch_size, FILLER, np.int64)
    padded[:len(rows)] = rows
    batches.append(padded.reshape(-1, batch_size))
  return np.concatenate(batches)


def process_slice(batch_size: int, process_index: int, process_count: int) -> slice:
  """Returns the slots of a batch that process `process_index` of `process_count` loads.

  Raises:
    ValueError: if the batch cannot be divided equally, or there is no such process.
  """
  if batch_size < 1 or batch_size % process_count:
    raise ValueError(f"a batch of {batch_size} images cannot be divided among "
                     f"{process_count} processes")
  if not 0 <= process_index < process_count:
    raise ValueError(f"process {process_index} of {process_count}: counted from 0")
  share = batch_size // process_count
  return slice(process_index * share, (process_index + 1) * share)


def _batch_count(image_count, batch_size):
  return max(image_count // batch_size, 1)


def _by_bucket(buckets):
  return [np.flatnonzero(buckets == bucket) for bucket in np.unique(buckets)]
