"""A saved batch is read back unchanged; its losses are recomputed per image."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import tiny
from mnc_jax.model.cascade import cascade_loss
from mnc_jax.training import diagnosis
from mnc_jax.training.step import step_key

CONFIG = tiny.tiny_config(train={"num_stages": 3})
PLACE = {"step": 5, "device": 1, "config": CONFIG}


@functools.cache
def params():
  return tiny.random_params(CONFIG)


def test_a_batch_is_read_back_with_its_images_and_notes(tmp_path):
  batch = jax.tree.map(np.asarray, tiny.make_batch())
  path = tmp_path / "new" / "step_5.npz"
  diagnosis.save_batch(path, batch, np.array([7, 12]), step=5, devices=1)
  found, image_ids, notes = diagnosis.load_batch(path)
  jax.tree.map(np.testing.assert_array_equal, found, batch)
  assert (image_ids.tolist(), notes) == ([7, 12], {"step": 5, "devices": 1})


@pytest.mark.parametrize("make", [
    lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"not an archive"),
    lambda path: np.savez(path, images=np.zeros(3)), lambda path: truncate(path)],
                         ids=["empty", "text", "other", "truncated"])
def test_another_file_is_rejected_by_name(tmp_path, make):
  make(tmp_path / "x.npz")
  with pytest.raises(ValueError, match=r"x\.npz is not a batch that training saved"):
    diagnosis.load_batch(tmp_path / "x.npz")


def truncate(path):
  diagnosis.save_batch(path, jax.tree.map(np.asarray, tiny.make_batch()), np.arange(2))
  path.write_bytes(path.read_bytes()[:-100])


def test_losses_of_the_images_average_to_the_batchs_loss():
  batch = tiny.make_batch()
  losses = diagnosis.image_losses(params(), batch, **PLACE)
  _, expected = jax.jit(functools.partial(cascade_loss, config=CONFIG))(
      params(), batch, step_key(0, 4, 1))
  assert set(losses) == {"loss", "loss_1", "loss_2", "loss_3"}
  for name, values in losses.items():
    assert values.shape == (2,)
    np.testing.assert_allclose(values.mean(), expected[name], rtol=1e-5)
  assert abs(losses["loss"][0] - losses["loss"][1]) > 1e-3


def test_the_image_with_a_wrong_label_is_named():
  batch = tiny.make_batch()
  whole = diagnosis.image_losses(params(), batch, **PLACE)
  wrong = batch._replace(labels=batch.labels.at[1, 0].set(3))
  losses = diagnosis.image_losses(params(), wrong, **PLACE)
  for name, values in losses.items():
    assert values[0] == whole[name][0] and np.isnan(values[1]), name


def test_terms_and_parameters_with_non_finite_numbers_are_named():
  batch = tiny.make_batch()
  assert not diagnosis.nonfinite_gradients(params(), batch, **PLACE)
  poisoned = params() | {"mask_stage": jax.tree.map(lambda x: x * jnp.nan, params()["mask_stage"])}
  losses = diagnosis.image_losses(poisoned, batch, **PLACE)
  assert np.isfinite(losses["loss_1"]).all()
  assert np.isnan(losses["loss_2"]).all()
  found = diagnosis.nonfinite_gradients(poisoned, batch, **PLACE)
  bias = params()["mask_stage"]["mask"]["bias"]
  assert found["mask_stage/mask/bias"] == bias.size
