"""Predicts every image of a split once, on all devices of all hosts."""

from collections.abc import Callable, Iterator, Sequence
import functools
import itertools
from typing import NamedTuple
import warnings

import jax
from jax.sharding import Mesh
import numpy as np
from tqdm.auto import tqdm

from mnc_jax import parallel
from mnc_jax.coco.categories import check_same_categories
from mnc_jax.coco.faults import count_noun
from mnc_jax.config import Config
from mnc_jax.data import Source, count_evaluation_batches, evaluation_batches, restrict
from mnc_jax.evaluation.predict_image import config_of_program
from mnc_jax.evaluation.progress import compiling
from mnc_jax.evaluation.results import instances_to_records, instances_to_results, merge_shares
from mnc_jax.evaluation.tiles.plan import need_tiles
from mnc_jax.model.inference import predict_ensemble
from mnc_jax.structs import Batch, Instances


def make_predict(configs: Sequence[Config], mesh: Mesh) -> Callable:
  """Returns `predict(models, images, image_sizes)`, compiled over all devices of the mesh.

  `models` are the parameters for each of `configs`, from `parallel.replicate`; images and sizes
  are this host's rows as numpy arrays, as are the returned `Instances`.
  """
  predict_sharded = _compile(tuple(map(config_of_program, configs)), mesh)

  def predict(models, images, image_sizes):
    return parallel.local_rows(
        predict_sharded(models, *parallel.put_batch((images, image_sizes), mesh)))

  return predict


# Validation and a later evaluation in the same process share it. Each holds a program per bucket.
@functools.lru_cache(maxsize=4)
def _compile(configs: tuple[Config, ...], mesh: Mesh):
  return parallel.data_parallel(
      functools.partial(predict_ensemble, configs=configs), mesh,
      inputs=(parallel.REPLICATED, parallel.SHARDED, parallel.SHARDED), outputs=parallel.SHARDED)


class _Found(NamedTuple):
  """What was found in some images: COCO results, and how much static shapes dropped."""
  image_ids: list[int]
  results: list[dict]
  truncated: int
  dropped: int


def predict_all(find: Callable, models: Sequence[dict], config: Config, source: Source, *,
                find_large: Callable[[np.ndarray], Instances] | None = None,
                each_batch: Callable[[Batch], object] = lambda batch: None,
                beat: Callable[[], None] = lambda: None) -> tuple[list[dict], dict[str, int]]:
  """Predicts each image of a split exactly once.

  Args:
    find: from `make_predict`.
    models: from `parallel.replicate`, the parameters of each.
    config: of the first model.
    source: the split.
    find_large: from an image [h, w, 3] to its instances without padding, as `find_instances`, for
      images that are shrunk by more than `inference.max_shrink`; each host runs its share of them.
      None: they are scaled as a whole, as the others.
    each_batch: called with each batch of the others on the host, before its prediction.
    beat: called after each batch and each such image, for a `Watchdog`.

  Returns:
    COCO results of the whole split, on each process, and the numbers of proposals and instances
    that were dropped for the model's static shapes.
  """
  # Collectives on CPU time out if the first one starts half a minute later on another host.
  parallel.synchronize("predicting")
  tiled = need_tiles(source.sizes, config) & (find_large is not None)
  whole, large = (restrict(source, source.image_ids[rows].tolist()) for rows in (~tiled, tiled))
  own = []
  for found in itertools.chain(_predict_whole(find, models, config, whole, each_batch),
                               _predict_large(find_large, config, large)):
    own.append(found)
    beat()
  # Of other processes they come as lists.
  parts = list(itertools.chain.from_iterable(parallel.gather(own)))
  return merge_shares([part[:2] for part in parts], source.image_ids), {
      "truncated_proposals": sum(part[2] for part in parts),
      "dropped_instances": sum(part[3] for part in parts)}


def _predict_whole(find, models, config, source, each_batch) -> Iterator[_Found]:
  """Yields what is found in each batch of this host."""
  if not len(source):
    return
  bar, shapes = _show_batches(source, config), set()
  for batch, info in bar:
    with compiling(bar, first=batch.images.shape not in shapes):
      shapes.add(batch.images.shape)
      each_batch(batch)
      found = find(models, batch.images, batch.image_sizes)
    yield _Found([int(i) for i in info.image_ids if i >= 0],
                 instances_to_results(found, info, source.category_ids,
                                      mask_threshold=config.inference.mask_threshold),
                 int(found.truncated_proposals.sum()), int(found.dropped.sum()))


def _predict_large(find_large, config, source) -> Iterator[_Found]:
  """Yields what is found in each image of this host's share."""
  rows = range(jax.process_index(), len(source), jax.process_count())
  bar = tqdm(rows, unit="image", desc="in tiles", disable=not (rows and parallel.is_first()))
  for row in bar:
    image_id, size = int(source.image_ids[row]), tuple(source.sizes[row].tolist())
    with compiling(bar, first=row == rows[0]):
      found = find_large(source.read_image(row))
    yield _Found([image_id],
                 instances_to_records(found, size, image_id=image_id,
                                      category_ids=source.category_ids,
                                      mask_threshold=config.inference.mask_threshold),
                 int(found.truncated_proposals), int(found.dropped))


def _show_batches(source, config):
  """Returns this host's evaluation batches of a split, which show a progress bar."""
  # As many images as fit: the same number on each device.
  size = -(-config.data.eval_batch_size // jax.device_count()) * jax.device_count()
  batches = evaluation_batches(source, config.data, batch_size=size,
                               process_index=jax.process_index(),
                               process_count=jax.process_count())
  return tqdm(batches, unit="batch", desc="predicting", disable=not parallel.is_first(),
              total=count_evaluation_batches(source, config.data, batch_size=size))


def check_categories(category_names: Sequence[str], source: Source) -> None:
  """Rejects a split of other categories than the model's."""
  check_same_categories(
      category_names, source.category_names, first="the model", second=source.name,
      advice=": evaluate on the set it was trained for (data.dataset, data.data_dir), or train on "
      "this one")


def warn_of_limit(source: Source, config: Config, *, tiles: bool = False) -> None:
  """Warns of images with more instances than the model can return, which count as missed.

  Args:
    source: the split.
    config: of the model.
    tiles: whether large images are run in tiles, which have no such limit together.
  """
  name, limit = min(("max_instances", config.inference.max_instances),
                    ("proposals.num_proposals", config.inference.proposals.num_proposals),
                    key=lambda field: field[1])
  counts = source.instance_counts - source.crowd_counts
  if tiles:
    counts = counts[~need_tiles(source.sizes, config)]
  full = int(np.count_nonzero(counts > limit))
  if full:
    warnings.warn(
        f"{source.name}: {count_noun(full, 'image')} with more than inference.{name} = "
        f"{limit} instances, up to {counts.max()}: those beyond it count as missed. Raise "
        "inference.max_instances, and inference.proposals.num_proposals to as many or more",
        stacklevel=2)
