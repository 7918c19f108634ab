"""Predicts every image of a split once, on all devices of all hosts."""

from collections.abc import Callable, Sequence
import functools
import warnings

import jax
from jax.sharding import Mesh
import numpy as np
from tqdm.auto import tqdm

from mnc_jax import parallel
from mnc_jax.coco.categories import check_same_categories
from mnc_jax.coco.faults import count_noun
from mnc_jax.config import Config
from mnc_jax.data import Source, count_evaluation_batches, evaluation_batches
from mnc_jax.evaluation.progress import compiling
from mnc_jax.evaluation.results import instances_to_results, merge_shares
from mnc_jax.model.inference import predict_ensemble


def make_predict(configs: Sequence[Config], mesh: Mesh) -> Callable:
  """Returns `predict(models, images, image_sizes)`, compiled over all devices of the mesh.

  `models` are the parameters for each of `configs`, from `parallel.replicate`; images and sizes
  are this host's rows as numpy arrays, as are the returned `Instances`.
  """
  predict_sharded = _compile(tuple(configs), mesh)

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


def predict_all(find: Callable, models: Sequence[dict], config: Config, source: Source, *,
                beat: Callable[[], None] = lambda: None) -> tuple[list[dict], dict[str, int]]:
  """Predicts each image of a split exactly once.

  Args:
    find: from `make_predict`.
    models: from `parallel.replicate`, the parameters of each.
    config: of the first model.
    source: the split.
    beat: called after each batch, for a `Watchdog`.

  Returns:
    COCO results of the whole split, on each process, and the numbers of proposals and instances
    that were dropped for the model's static shapes.
  """
  # Collectives on CPU time out if the first one starts half a minute later on another host.
  parallel.synchronize("predicting")
  bar = show_batches(source, config, "predicting")
  results, seen, truncated, dropped, shapes = [], [], 0, 0, set()
  for batch, info in bar:
    with compiling(bar, first=batch.images.shape not in shapes):
      shapes.add(batch.images.shape)
      found = find(models, batch.images, batch.image_sizes)
    results += instances_to_results(found, info, source.category_ids,
                                    mask_threshold=config.inference.mask_threshold)
    seen += [int(i) for i in info.image_ids if i >= 0]
    truncated += int(found.truncated_proposals.sum())
    dropped += int(found.dropped.sum())
    beat()
  shares = parallel.gather([seen, results, truncated, dropped])
  return merge_shares([share[:2] for share in shares], source.image_ids), {
      "truncated_proposals": sum(share[2] for share in shares),
      "dropped_instances": sum(share[3] for share in shares)}


def show_batches(source: Source, config: Config, name: str) -> tqdm:
  """Returns this host's evaluation batches of a split, which show a progress bar of this name."""
  size = config.data.eval_batch_size
  batches = evaluation_batches(source, config.data, batch_size=size,
                               process_index=jax.process_index(),
                               process_count=jax.process_count())
  return tqdm(batches, unit="batch", desc=name, disable=not parallel.is_first(),
              total=count_evaluation_batches(source, config.data, batch_size=size))


def check_categories(category_names: Sequence[str], source: Source) -> None:
  """Rejects a split of other categories than the model's."""
  check_same_categories(
      category_names, source.category_names, first="the model", second=source.name,
      advice=": evaluate on the set it was trained for (data.dataset, data.data_dir), or train on "
      "this one")


def warn_of_limit(source: Source, config: Config) -> None:
  """Warns of images with more instances than the model can return, which count as missed."""
  limit = config.inference.max_instances
  counts = source.instance_counts - source.crowd_counts
  full = np.count_nonzero(counts > limit)
  if full:
    warnings.warn(
        f"{source.name}: {count_noun(full, 'image')} with more than inference.max_instances = "
        f"{limit} instances, up to {counts.max()}: those beyond it count as missed. Raise it, and "
        "inference.proposals.num_proposals to as many or more", stacklevel=2)
