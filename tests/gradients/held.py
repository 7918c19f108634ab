"""Choices and targets of the cascade, recorded in one evaluation and held fixed in another.

They are constants in the gradient by design (`mnc_jax.model.roi_targets`), so comparing a
gradient with a difference quotient, or two dtypes with each other, requires holding them too. Only
the named functions are replaced, while a loss is traced. For batches of one image: under the
cascade's vmap an array that is held is the same for all images.
"""

import contextlib
from unittest import mock

import jax

from mnc_jax.model import cascade, forward, roi_targets
from mnc_jax.model.shared_kernels import slots_of_rounds
from mnc_jax.model.stages import box_stage

TARGETS = ((roi_targets, "roi_targets"),)
"""Functions of a RoI's coordinates that are not differentiated: the deltas from a RoI to its
object, and, unless they are binarised, the object's mask inside the RoI."""
CHOICES = ((box_stage, "top_indices"), (box_stage, "greedy_nms"),
           (roi_targets, "top_indices"),
           (roi_targets, "roi_targets"), (roi_targets, "mask_level_labels"))
"""Which proposals are kept, which RoIs are sampled, and their targets."""


def record(functions, params, batch, key, *, config):
  """Returns the results of `functions`, in the order in which the loss calls them."""
  assert batch.images.shape[0] == 1, "held arrays are those of one image"
  results = []
  def recording(function):
    def call(*arguments, **options):
      results.append(function(*arguments, **options))
      return results[-1]
    return call
  shared = forward.extract_stage_features(params, batch.images, batch.image_sizes, config=config)
  slots = slots_of_rounds(params, batch.ground_truth, config=config)
  *one_image, slots = jax.tree.map(
      lambda x: x[0], (shared, batch.image_sizes, batch.ground_truth, slots))
  with _replaced(functions, recording):
    cascade._image_losses(params, *one_image, jax.random.split(key, 1)[0], slots,
                          num_images=1, config=config)
  return results


def replay(functions, results, params, batch, key, *, config):
  """Returns the metrics of `cascade_loss` where calls of `functions` give `results` in turn."""
  assert batch.images.shape[0] == 1, "held arrays are those of one image"
  waiting = list(results)
  with _replaced(functions, lambda _: lambda *arguments, **options: waiting.pop(0)):
    metrics = cascade.cascade_loss(params, batch, key, config=config)[1]
  assert not waiting, f"{len(waiting)} held results were not used"
  return metrics


@contextlib.contextmanager
def _replaced(functions, replace):
  with contextlib.ExitStack() as patches:
    for module, name in functions:
      patches.enter_context(mock.patch.object(module, name, replace(getattr(module, name))))
    yield
