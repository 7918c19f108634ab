"""Backbones of the user: any Flax module by its name in the config."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from helpers import tiny
import mnc_jax
from mnc_jax.config import ModelConfig
from mnc_jax.config.serialization import from_json, to_json
from mnc_jax.config.validation import check_values
from mnc_jax.model.backbones import features
from mnc_jax.model.backbones.backbone import Backbone
from mnc_jax.model.backbones.plain import plain_backbone
from mnc_jax.training.checks import check_sides
from mnc_jax.training.initial_state import check_fresh_start
from mnc_jax.training.step import trained_gradients

pytestmark = pytest.mark.usefixtures("own_registry")


class Patches(nn.Module):
  """Each cell sees its own pixels alone."""

  channels: int = 6
  stride: int = 8

  @nn.compact
  def __call__(self, x):
    return nn.Conv(self.channels, (self.stride,) * 2, strides=self.stride)(x) + 1.0


def register(name="patches", **promises):
  promised = {"channels": 6, "stride": 8} | promises
  mnc_jax.register_backbone(name, lambda config: plain_backbone(Patches(), config, **promised))


def extract(model, images, sizes):
  params = features.init_features(jax.random.key(0), model)
  return features.extract_features(params, images, jnp.asarray(sizes), config=model)


def test_features_have_stride_channels_and_dtype_and_are_zero_outside_the_image():
  register()
  images = jnp.full((1, 48, 64, 3), 100, jnp.uint8)
  found = extract(ModelConfig(backbone="patches", compute_dtype="bfloat16"), images, [[32, 40]])
  assert found.shape == (1, 6, 8, 6) and found.dtype == jnp.bfloat16
  inside = np.zeros((6, 8), bool)
  inside[:4, :5] = True
  np.testing.assert_array_equal(np.asarray(found[0, ..., 0] != 0), inside)


@pytest.mark.parametrize("promises", [{"stride": 4}, {"channels": 7}])
def test_features_that_are_not_as_promised_are_reported(promises):
  register(**promises)
  with pytest.raises(ValueError, match=(
      r"the backbone 'patches' returned float32\[1, 4, 4, 6\] for images \[1, 32, 32, 3\], but "
      rf"with stride {promises.get('stride', 8)} and {promises.get('channels', 6)} channels")):
    extract(ModelConfig(backbone="patches"), jnp.zeros((1, 32, 32, 3), jnp.uint8), [[32, 32]])


def test_numbers_that_do_not_fit_each_other_are_reported():
  register(stride=8, multiple=12)
  with pytest.raises(ValueError, match="stride 8 and multiple 12: .*the multiple is one of"):
    features.make_backbone(ModelConfig(backbone="patches"))


def test_a_new_backbone_of_the_same_name_is_not_answered_from_the_old_program():
  run = jax.jit(features.extract_features, static_argnames="config")
  model = ModelConfig(backbone="patches")
  images, sizes = jnp.zeros((1, 32, 32, 3), jnp.uint8), jnp.full((1, 2), 32)
  for stride, cells in ((8, 4), (16, 2)):
    module = Patches(stride=stride)
    mnc_jax.register_backbone("patches", lambda config, module=module: plain_backbone(
        module, config, channels=6, stride=module.stride))
    # The parameters of both have a kernel, of other sides.
    params = features.init_features(jax.random.key(0), model)
    params = jax.tree.map(jnp.zeros_like, params)
    assert run(params, images, sizes, config=model).shape == (1, cells, cells, 6)
  same = jax.tree.map(lambda x: x[:8, :8] if x.ndim == 4 else x, params)
  module = Patches(stride=8)
  for offset in (0.0, 2.0):
    mnc_jax.register_backbone("patches", lambda config, offset=offset: Backbone(
        Shifted(offset), 6, stride=8, multiple=8, blocks=()))
    assert float(run(same, images, sizes, config=model).max()) == offset


class Shifted(nn.Module):
  """A constant; its parameters are those of any other."""

  offset: float

  @nn.compact
  def __call__(self, images, image_sizes):
    del image_sizes
    return jnp.full((1, images.shape[1] // 8, images.shape[2] // 8, 6), self.offset)


def test_the_cascade_trains_on_it_and_its_config_survives():
  register()
  config = tiny.tiny_config(model={"backbone": "patches"})
  assert from_json(to_json(config)) == config
  loss = lambda params: mnc_jax.cascade_loss(
      params, tiny.make_batch(), jax.random.key(1), config=config)[0]
  params = mnc_jax.init_params(jax.random.key(0), config)
  gradient = jax.jit(jax.grad(loss))(params)
  assert float(jnp.abs(gradient["features"]["module"]["Conv_0"]["kernel"]).max()) > 0


def test_blocks_that_are_frozen_have_no_gradient():
  """Not even where the module does not stop it: the norm, which is clipped, is of the others."""
  mnc_jax.register_backbone("patches", lambda config: plain_backbone(
      Patches(), config, channels=6, stride=8)._replace(blocks=(("module",),)))
  frozen, free = (tiny.tiny_config(model={"backbone": "patches", "frozen_blocks": blocks})
                  for blocks in (1, 0))
  params = mnc_jax.init_params(jax.random.key(0), free)
  gradients, of_all = (jax.jit(functools.partial(trained_gradients, config=config))(
      params, tiny.make_batch(), jax.random.key(1))[0] for config in (frozen, free))
  assert gradients["features"]["module"]["Conv_0"] == {"bias": None, "kernel": None}
  assert jnp.abs(of_all["features"]["module"]["Conv_0"]["kernel"]).max() > 0
  state, metrics = jax.jit(functools.partial(mnc_jax.train_step, config=frozen))(
      mnc_jax.init_state(params, frozen), tiny.make_batch(), jax.random.key(1))
  np.testing.assert_allclose(metrics["gradient_norm"], optax.tree.norm(
      {name: part for name, part in of_all.items() if name != "features"}), rtol=1e-5)
  np.testing.assert_array_equal(state.params["features"]["module"]["Conv_0"]["kernel"],
                                params["features"]["module"]["Conv_0"]["kernel"])


def test_it_starts_from_random_weights_and_names_the_sides_it_needs():
  register()
  check_fresh_start(ModelConfig(backbone="patches", frozen_blocks=2))
  sides = lambda side: tiny.tiny_config(
      model={"backbone": "patches"}, data={"buckets": ((side, side),), "crop_size": (0, 0)})
  check_sides(sides(64))
  with pytest.raises(ValueError, match="has 60 x 60, but the patches backbone needs multiples"):
    check_sides(sides(60))


def test_one_called_like_a_resnet_is_none():
  register("resnet_of_mine")
  check_values(tiny.tiny_config(model={"backbone": "resnet_of_mine", "frozen_blocks": 9}))
  with pytest.raises(ValueError, match="the resnet50 backbone has"):
    check_values(tiny.tiny_config(model={"backbone": "resnet50", "frozen_blocks": 9}))
