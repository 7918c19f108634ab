"""What the cascade demands of its input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
from mnc_jax.model.batch_checks import check_batch
from mnc_jax.model.cascade import cascade_loss
from mnc_jax.model.inference import predict

CONFIG = tiny.tiny_config(train={"num_stages": 3})


def shapes_of_losses(batch):
  find = functools.partial(cascade_loss, batch=batch, key=jax.random.key(0), config=CONFIG)
  return jax.eval_shape(find, tiny.random_params(CONFIG))[1]


@pytest.mark.parametrize("count", [1, 2])
def test_a_batch_of_numpy_has_losses(count):
  batch = jax.tree.map(np.asarray, tiny.make_batch(count))
  batch = batch._replace(ignored_boxes=np.zeros((count, 2, 4), np.float32))
  assert shapes_of_losses(batch)["loss_3"].shape == ()


@pytest.mark.parametrize(("images", "sizes"), [
    ((1, 64, 64, 3), (4, 2)), ((1, 64, 64, 3), (1, 3)), ((2, 64, 64, 3), (1, 2)),
    ((64, 64, 3), (1, 2))])
def test_images_and_sizes_of_another_number_cannot_be_predicted(images, sizes):
  with pytest.raises(AssertionError, match=r"\(height, width\) of each image|images"):
    predict(tiny.random_params(CONFIG), jnp.zeros(images, jnp.uint8), jnp.full(sizes, 64),
            config=CONFIG)


@pytest.mark.parametrize(("field", "change", "message"), [
    ("masks", lambda x: x[..., :64, :64], "(2, 4, 64, 64) but expected (2, 4, 112, 112)"),
    ("images", lambda x: x[0], "(64, 64, 3) but expected (64, None, None, 3)"),
    ("image_sizes", lambda x: x[:1], "(1, 2) but expected (2, 2)"),
    ("labels", lambda x: x[:, :, None], "(2, 4, 1) but expected (2, 4)"),
    ("boxes", lambda x: x[:, :3], "(2, 3, 4) but expected (2, 4, 4)")])
def test_a_field_of_another_shape_is_named(field, change, message):
  batch = tiny.make_batch()
  with pytest.raises(AssertionError, match=f"Batch.{field}") as error:
    shapes_of_losses(batch._replace(**{field: change(getattr(batch, field))}))
  assert message in str(error.value)
  assert ("each mask is resampled inside its own box" in str(error.value)) == (field == "masks")


@pytest.mark.parametrize(("field", "message"), [
    ("images", "Batch.images are float32, must be uint8 RGB from 0 to 255"),
    ("labels", "Batch.labels are float32, must be integers"),
    ("masks", "Batch.masks are float32, must be uint8 or bool")])
def test_a_field_of_another_dtype_is_named(field, message):
  batch = tiny.make_batch()
  with pytest.raises(TypeError, match=message):
    shapes_of_losses(batch._replace(**{field: getattr(batch, field).astype(jnp.float32)}))


def test_a_batch_as_specified_passes():
  batch = tiny.make_batch()
  check_batch(batch._replace(masks=batch.masks.astype(bool)))
  check_batch(jax.tree.map(lambda x: x[:, :0], batch)._replace(
      images=batch.images, image_sizes=batch.image_sizes))


@functools.cache
def compiled_gradient():
  find = jax.value_and_grad(functools.partial(cascade_loss, config=CONFIG), has_aux=True)
  return jax.jit(lambda batch: find(tiny.random_params(CONFIG), batch, jax.random.key(0)))


def run(batch):
  """Returns the losses and the gradient."""
  (_, metrics), gradient = jax.device_get(compiled_gradient()(batch))
  return {name: value for name, value in metrics.items() if name.startswith("loss")}, gradient


@pytest.mark.parametrize("label", [-1, 0, tiny.NUM_CATEGORIES])
def test_a_label_of_no_category_makes_the_losses_nan(label):
  batch = tiny.make_batch()
  losses, gradient = run(batch._replace(labels=batch.labels.at[1, 0].set(label)))
  assert np.isnan(list(losses.values())).all()
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_labels_that_are_not_read_may_be_any():
  """Those of padding, of crowd regions and of images that pad the batch."""
  batch = tiny.make_batch()
  batch = batch._replace(
      crowd=batch.crowd.at[0, 1].set(True), image_sizes=batch.image_sizes.at[1].set(0))
  changed = batch._replace(labels=batch.labels.at[0, 1:].set(99).at[1].set(-7))
  expected = run(batch)
  assert expected[0]["loss_3"] > 0.5
  jax.tree.map(np.testing.assert_array_equal, run(changed), expected)
