"""Predicts every image of a split once, on all devices of all hosts."""

from collections.abc import Sequence
import functools

import jax
from tqdm import tqdm

from mnc_jax import parallel
from mnc_jax.coco.categories import check_same_categories
from mnc_jax.config import Config
from mnc_jax.data import evaluation_batches
from mnc_jax.evaluation.results import instances_to_results, merge_shares
from mnc_jax.model.inference import predict_ensemble


def make_predict_and_count(configs: Sequence[Config]):
  """Returns `predict(models, images, image_sizes)` over all local devices.

  `models` is a sequence of replicated parameter trees, one for each of `configs`; images and
  sizes come from `shard`. The returned `Instances` have leading [devices, b]; `unshard` brings them
  to the host.
  """
  return parallel.on_all_devices(functools.partial(predict_ensemble, configs=tuple(configs)))


def predict_all(find, models, config: Config, source, *, beat=lambda: None) -> tuple[list, dict]:
  """Predicts each image of a split exactly once.

  Args:
    find: from `make_predict_and_count`.
    models: replicated, the parameters of each.
    config: of the first model.
    source: the split.
    beat: called after each batch, for a `Watchdog`.

  Returns:
    COCO results of the whole split, and what found no place in the model's static shapes.
  """
  batches = evaluation_batches(
      source, config.data, batch_size=config.data.eval_batch_size,
      process_index=jax.process_index(), process_count=jax.process_count())
  results, seen, truncated, dropped = [], [], 0, 0
  for batch, info in tqdm(batches, unit="batch", desc="predicting"):
    found = parallel.unshard(
        find(models, *parallel.shard((batch.images, batch.image_sizes))))
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


def check_categories(category_names, source) -> None:
  """Rejects a split of other categories than the model's."""
  check_same_categories(
      category_names, source.category_names, first="the model", second=source.name,
      advice=": evaluate on the set it was trained for (data.dataset, data.data_dir), or train on "
      "this one")
