"""The training step: learns, is reproducible, compiles once, and reports NaN."""

import functools

import jax
import numpy as np
import pytest

from helpers import tiny
from mnc_jax.model.inference import predict
from mnc_jax.model.parameters import init_params
from mnc_jax.ops.boxes import box_iou
from mnc_jax.ops.masks import paste_masks
from mnc_jax.training import checkpoint
from mnc_jax.training.step import check_finite, init_state, step_key, train_step

CONFIG = tiny.tiny_config(
    model={"box_gradient_clip": 2.0**-11},
    train={"clip_norm": 3.0, "weight_mask": 2.0, "schedule": "cosine", "num_steps": 300})


@functools.cache
def tiny_state():
  return jax.jit(lambda: init_state(init_params(jax.random.key(0), CONFIG), CONFIG))()


# The shape of the images of each trace of the step.
TRACES = []


@jax.jit
def step(state, batch, key):
  TRACES.append(batch.images.shape)
  return train_step(state, batch, key, config=CONFIG)


overlaps = jax.jit(box_iou)
paste = jax.jit(lambda mask, box: paste_masks(mask[None], box[None], 64, 64)[0] > 0.4)


def assert_trees_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_step_is_a_pure_function_of_state_batch_and_key():
  batch = tiny.make_batch()
  once, _ = step(tiny_state(), batch, step_key(0, 5, 0))
  again, _ = step(tiny_state(), batch, step_key(0, 5, 0))
  other, _ = step(tiny_state(), batch, step_key(0, 6, 0))
  assert_trees_equal(once.params, again.params)
  assert any((a != b).any() for a, b in
             zip(jax.tree.leaves(once.params), jax.tree.leaves(other.params), strict=True))


def test_one_compilation_serves_all_batches_of_a_bucket():
  state, _ = step(tiny_state(), tiny.make_batch(), step_key(0, 9, 0))
  before = len(TRACES)
  for seed in range(4):
    batch = tiny.make_batch(seed=seed, instances=1 + seed, padding=3 - seed)
    state, _ = step(state, batch, step_key(0, seed, 0))
  assert len(TRACES) == before > 0
  assert int(state.step) == 5


def test_overfits_two_images():
  batch, state = tiny.make_batch(), tiny_state()
  for index in range(CONFIG.train.num_steps):
    state, _ = step(state, batch, step_key(0, index, 0))
  found = jax.device_get(jax.jit(functools.partial(predict, config=CONFIG))(
      state.params, batch.images, batch.image_sizes))
  for image in range(2):
    for instance in range(2):
      iou = overlaps(batch.boxes[image, instance][None], found.boxes[image])[0]
      iou = np.where(found.labels[image] == batch.labels[image, instance], iou, 0)
      best = int(iou.argmax())
      assert iou[best] > 0.7
      assert found.scores[image, best] > 0.5
      assert _mask_iou(found, batch, image, best, instance) > 0.7


def _mask_iou(found, batch, image, best, instance):
  predicted = paste(found.masks[image, best], found.paste_boxes[image, best])
  true = paste(np.float32(batch.masks[image, instance]), batch.boxes[image, instance])
  return float((predicted & true).sum() / (predicted | true).sum())


def test_save_restore_step_equals_step_step(tmp_path):
  batch = tiny.make_batch()
  categories = checkpoint.Categories(("a", "b"), (1, 2))
  once, _ = step(tiny_state(), batch, step_key(0, 0, 0))
  twice, _ = step(once, batch, step_key(0, 1, 0))
  with checkpoint.open_checkpoints(tmp_path) as manager:
    checkpoint.save(manager, once, CONFIG, categories)
    manager.wait_until_finished()
    restored = checkpoint.restore(manager, jax.eval_shape(lambda: once))
  resumed, _ = step(restored, batch, step_key(0, int(restored.step), 0))
  assert_trees_equal(resumed, twice)


def test_a_non_finite_loss_raises_with_step_and_term():
  metrics = {"loss": np.float32("nan"), "loss_1": np.float32(0.3), "loss_2": np.float32("inf")}
  with pytest.raises(FloatingPointError, match=r"step 17: loss = nan, loss_2 = inf\. .*rate"):
    check_finite(17, metrics)


def test_finite_numbers_pass():
  check_finite(17, {"loss": np.float32(1.0), "gradient_norm": np.float32(1e30)})


def test_a_nan_in_the_weights_reaches_the_metrics():
  state = tiny_state()
  params = jax.tree.map(lambda x: np.full_like(x, np.nan), state.params["mask_stage"])
  poisoned = state._replace(params=state.params | {"mask_stage": params})
  _, metrics = step(poisoned, tiny.make_batch(), step_key(0, 0, 0))
  assert np.isfinite(metrics["loss_1"])
  assert np.isnan(metrics["loss_2"])
  assert np.isnan(metrics["gradient_norm"])


def test_labels_of_no_category_are_said_to_be_the_likely_cause():
  batch = tiny.make_batch()
  _, metrics = step(tiny_state(), batch._replace(labels=batch.labels * 0), step_key(0, 0, 0))
  message = r"loss = nan, .*, loss_5 = nan, with a finite gradient, as of labels outside 1 \.\.\. C"
  with pytest.raises(FloatingPointError, match=message):
    check_finite(17, jax.device_get(metrics))
