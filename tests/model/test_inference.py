"""From cascade outputs to instances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
from mnc_jax.model.inference import predict, select_instances
from mnc_jax.model.parameters import init_params
from mnc_jax.structs import Batch, Candidates
from mnc_jax.training.step import init_state, train_step


def find(config):
  """Compiled `predict` with fresh weights."""
  return jax.jit(functools.partial(predict, tiny.random_params(config), config=config))


def test_an_empty_image_gives_no_instance_and_no_error():
  config = tiny.tiny_config()
  found = find(config)(jnp.zeros((2, 64, 64, 3), jnp.uint8), jnp.array([[0, 0], [0, 0]]))
  assert not found.valid.any()
  for leaf in found:
    assert not np.asarray(leaf).any()


def test_where_all_boxes_are_too_small_nothing_is_found():
  config = tiny.tiny_config(inference={"proposals": {"min_box_size": 1000.0}})
  batch = tiny.make_batch()
  assert not find(config)(batch.images, batch.image_sizes).valid.any()


def candidates():
  """Three candidates: two of category 1 on the same object, one of category 2 elsewhere."""
  boxes = jnp.array([[10.0, 10, 30, 30], [11, 10, 31, 30], [40, 40, 60, 60]])
  logits = jnp.array([[0.0, 3, 0], [0, 2, 0], [0, 0, 4]])
  refined = jnp.stack([jnp.zeros((3, 4)), boxes + 1, boxes + 2], axis=1)
  return Candidates(boxes, jnp.ones(3, bool), jnp.full((3, 12, 12), 8.0), logits, refined)


def test_instances_come_best_first_with_softmax_scores():
  config = tiny.tiny_config()
  select = jax.jit(functools.partial(select_instances, config=config))
  found = select(candidates(), jnp.array([64, 64]))
  # Every candidate has some probability of either category: four instances, two strong ones.
  np.testing.assert_array_equal(found.labels[:2], [2, 1])
  expected = [np.exp(4) / (np.exp(4) + 2), np.exp(3) / (np.exp(3) + 2)]
  np.testing.assert_allclose(found.scores[:2], expected, rtol=1e-5)
  assert (np.diff(found.scores) <= 0).all()
  # The two candidates of the first object vote: the box is between theirs.
  np.testing.assert_allclose(found.mask_boxes[1], [10, 10, 31, 30], atol=1.0)
  first, second = np.exp(3) / (np.exp(3) + 2), np.exp(2) / (np.exp(2) + 2)
  shift = second / (first + second)
  np.testing.assert_allclose(found.boxes[1], [11 + shift, 11, 31 + shift, 31], rtol=1e-6)
  np.testing.assert_allclose(found.boxes[0], [42, 42, 62, 62], rtol=1e-6)


def test_masks_do_not_depend_on_the_kind_of_boxes():
  regressed, mask = (
      jax.jit(functools.partial(select_instances, config=tiny.tiny_config(inference={"boxes": x})))(
          candidates(), jnp.array([64, 64])) for x in ("regressed", "mask"))
  jax.tree.map(np.testing.assert_array_equal, regressed._replace(boxes=mask.boxes), mask)
  np.testing.assert_array_equal(mask.boxes, mask.mask_boxes)
  assert np.abs(regressed.boxes - mask.boxes)[:2].max(axis=1).min() > 0.5


def test_padding_candidates_change_nothing():
  config, output = tiny.tiny_config(), candidates()
  padded = jax.tree.map(lambda x: jnp.concatenate([x, jnp.full_like(x, 7)]), output)
  padded = padded._replace(valid=jnp.arange(6) < 3)
  size = jnp.array([64, 64])
  select = jax.jit(functools.partial(select_instances, config=config))
  jax.tree.map(np.testing.assert_array_equal, select(output, size), select(padded, size))


def abstract(tree):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def full_size_batch():
  shape = jax.ShapeDtypeStruct
  return Batch(
      images=shape((1, 600, 1000, 3), jnp.uint8), image_sizes=shape((1, 2), jnp.int32),
      boxes=shape((1, 20, 4), jnp.float32), labels=shape((1, 20), jnp.int32),
      masks=shape((1, 20, 112, 112), jnp.uint8), areas=shape((1, 20), jnp.float32),
      crowd=shape((1, 20), jnp.bool_), valid=shape((1, 20), jnp.bool_))


def configurations():
  # VGG-16 with every default: 4096-wide dense layers, 300 proposals, 600 x 1000.
  from mnc_jax.config import Config
  full = tiny.override(Config(), model={"num_categories": 21})
  return {"tiny": (tiny.tiny_config(), abstract(tiny.make_batch())),
          "vgg16": (full, full_size_batch())}


@functools.cache
def trace_programs(name):
  """A training step and inference; tracing does not depend on the platform."""
  config, batch = configurations()[name]
  state = jax.eval_shape(lambda: init_state(init_params(jax.random.key(0), config), config))
  key = jax.eval_shape(lambda: jax.random.key(0))
  return (jax.jit(functools.partial(train_step, config=config)).trace(state, batch, key),
          jax.jit(functools.partial(predict, config=config)).trace(
              state.params, batch.images, batch.image_sizes))


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("name", ["tiny", "vgg16"])
def test_training_and_inference_lower_for_accelerators(name, platform):
  for traced in trace_programs(name):
    lowered = traced.lower(lowering_platforms=(platform,))
    assert "stablehlo" in lowered.as_text()[:4000]
