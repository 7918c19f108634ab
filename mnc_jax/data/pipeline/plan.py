"""The images of each batch: arrays of row numbers, from a seed, without reading any image.

All images of a batch are of one bucket, so that they have one padded size.
"""

import dataclasses
import functools
import math

import numpy as np

FILLER = -1  # A slot of a batch without an image.


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingPlan:
  """Endless shuffled batches; see `training_rows`.

  Attributes:
    buckets: [N] bucket of each image of the source.
    batch_size: images per batch, over all processes.
    seed: root of the order and of the flips.
    repeats: [N] how often each image comes in a pass over all, 1 or more; None: once.
    donors: [N] bool, images with an instance to paste on others; None: nothing is pasted.
  """
  buckets: np.ndarray
  batch_size: int
  seed: int
  repeats: np.ndarray | None = None
  donors: np.ndarray | None = None


def training_rows(plan: TrainingPlan, step: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns rows [batch_size] of the source and flips [batch_size] bool of a step of `plan`.

  Each bucket has as many batches as its share of the images, and its batches take its images in
  turn, shuffled in each pass: so all images come equally often, whatever the sizes of the buckets,
  or as often as `repeats` says.
  A bucket with fewer images than a batch repeats them in it, and has fewer batches.
  """
  sizes = _pass_sizes(plan)
  cycle, index = divmod(step, sum(_batch_counts(sizes)))
  buckets, numbers = _cycle(plan, cycle)
  bucket, number = int(buckets[index]), int(numbers[index])
  positions = np.arange(number * plan.batch_size, (number + 1) * plan.batch_size)
  passes, offsets = np.divmod(positions, sizes[bucket])
  rows = np.array([_shuffled(plan, bucket, int(number))[offset]
                   for number, offset in zip(passes, offsets, strict=True)])
  flips = np.random.default_rng([plan.seed, step, 2]).random(plan.batch_size) < 0.5
  return rows, flips


def slot_rng(plan: TrainingPlan, step: int, slot: int) -> np.random.Generator:
  """Returns the generator of all other random changes of the image in a `slot` of a step."""
  return np.random.default_rng([plan.seed, step, slot, 2, 1])


def paste_rng(plan: TrainingPlan, step: int, slot: int) -> np.random.Generator:
  """Returns the generator of what is pasted on the image in a `slot` of a step."""
  return np.random.default_rng([plan.seed, step, slot, 2, 2])


def draw_donor(plan: TrainingPlan, rng: np.random.Generator, row: int) -> int | None:
  """Returns the row of an image to paste on that of `row`: another, as often as images come.

  None: no other has an instance.
  """
  assert plan.donors is not None
  weights = plan.donors * (1.0 if plan.repeats is None else plan.repeats)
  weights[row] = 0
  total = weights.sum()
  return int(rng.choice(len(weights), p=weights / total)) if total else None


def _pass_sizes(plan):
  """Returns for each bucket how many images a pass over it has."""
  rows_of = _by_bucket(plan.buckets)
  if plan.repeats is None:
    return [len(rows) for rows in rows_of]
  return [round(float(plan.repeats[rows].sum())) for rows in rows_of]


def _batch_counts(sizes):
  """Returns the batches of each bucket in a cycle: the shortest with the shares of the images."""
  return [size // math.gcd(*sizes) for size in sizes]


@functools.lru_cache(maxsize=4)  # Drawn once per cycle, not once per batch.
def _cycle(plan: TrainingPlan, cycle: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns the bucket of each step of a cycle, and how many batches it had before."""
  counts = _batch_counts(_pass_sizes(plan))
  rng = np.random.default_rng([plan.seed, cycle, 3])
  # One batch in each of `count` equal parts of the cycle: none waits for long.
  times = np.concatenate([(np.arange(count) + rng.random(count)) / count for count in counts])
  order = np.argsort(times)
  buckets = np.repeat(np.arange(len(counts)), counts)
  numbers = np.concatenate([cycle * count + np.arange(count) for count in counts])
  return buckets[order], numbers[order]


@functools.lru_cache(maxsize=64)
def _shuffled(plan: TrainingPlan, bucket: int, number: int) -> np.ndarray:
  """Returns the rows of a bucket in the order of pass `number`."""
  rng = np.random.default_rng([plan.seed, bucket, number, 1])
  rows = _by_bucket(plan.buckets)[bucket]
  if plan.repeats is not None:
    # Points at equal distances on the line of all repeats, from a random start: an image of 1.3
    # comes once in 7 of 10 passes and twice in the others.
    ends, size = np.cumsum(plan.repeats[rows]), _pass_sizes(plan)[bucket]
    points = (np.arange(size) + rng.random()) * (ends[-1] / size)
    rows = rows[np.minimum(np.searchsorted(ends, points, side="right"), len(rows) - 1)]
  return rng.permutation(rows)


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


def _by_bucket(buckets):
  return [np.flatnonzero(buckets == bucket) for bucket in np.unique(buckets)]
