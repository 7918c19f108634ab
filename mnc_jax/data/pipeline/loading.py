"""One batch of a plan: its images are read, changed at random, and stacked."""

import dataclasses
from typing import NamedTuple

import numpy as np

from mnc_jax.config import DataConfig
from mnc_jax.data import augment, contrast, paste, transforms
from mnc_jax.data.pipeline import plan as planning
from mnc_jax.data.records import BrokenImageError, Source
from mnc_jax.structs import MASK_SIDE, Batch, ImageInfo

# In a slot without an image.
_EMPTY = transforms.Example(
    image=np.zeros((0, 0, 3), np.uint8), boxes=np.zeros((0, 4), np.float32),
    labels=np.zeros(0, np.int32), areas=np.zeros(0, np.float32), crowd=np.zeros(0, bool),
    masks=np.zeros((0, MASK_SIDE, MASK_SIDE), np.uint8))


@dataclasses.dataclass(frozen=True, eq=False)
class Loader:
  """What every batch needs."""
  source: Source
  config: DataConfig
  part: slice  # The slots of a batch that this process loads.
  scales: np.ndarray  # [N] network pixels per pixel of the file, before sides are rounded.
  exact_scales: np.ndarray  # [N, 2] the same per axis, after it.
  sizes: np.ndarray  # [N, 2] (height, width) of each image at network scale.
  buckets: np.ndarray  # [N] bucket of each image.
  ignored: int  # Instances beyond `max_instances` of the image that has most of them.


class Findings(NamedTuple):
  """What loading a batch met: messages by row."""
  broken: dict[int, str]
  small_ranges: dict[int, str]


def load_training_batch(loader: Loader, plan: planning.TrainingPlan, step: int
                        ) -> tuple[tuple[Batch, ImageInfo], Findings]:
  """Returns this process's share of the batch of a step; slots of broken images are invalid."""
  rows, flips = planning.training_rows(plan, step)
  slots = range(len(rows))[loader.part]
  rows, flips = rows[loader.part], flips[loader.part] & loader.config.flip
  found = Findings({}, {})
  examples = [_load_or_skip(loader, plan, row, step, slot, found)
              for row, slot in zip(rows, slots, strict=True)]
  examples = [transforms.flip_example(example) if flip and example else example
              for example, flip in zip(examples, flips, strict=True)]
  return _collate(loader, rows, examples, loader.buckets[rows[0]]), found


def load_evaluation_batch(loader: Loader, plan_rows: np.ndarray, step: int
                          ) -> tuple[tuple[Batch, ImageInfo], Findings]:
  """Returns this process's share of a batch of `planning.evaluation_rows`.

  Raises:
    BrokenImageError: if an image cannot be read.
  """
  rows = plan_rows[step]
  # The first of the whole batch is never a filler.
  bucket = loader.buckets[rows[0]]
  rows = rows[loader.part]
  found = Findings({}, {})
  examples = [None if row == planning.FILLER else _load(loader, row, found) for row in rows]
  return _collate(loader, rows, examples, bucket), found


def _load(loader, row, found):
  return transforms.resize_record(_read(loader, row, found), tuple(loader.sizes[row]))


def _read(loader, row, found):
  record, source = loader.source[int(row)], loader.source
  message = contrast.describe_range(
      record.image, f"{source.name}: image {source.image_ids[row]}", loader.config)
  if message:
    found.small_ranges[int(row)] = message
  return record._replace(image=contrast.adapt_image(record.image, loader.config))


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


def _collate(loader, rows, examples, bucket):
  """Returns `(Batch, ImageInfo)` of examples, None in slots without an image."""
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
