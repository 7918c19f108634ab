"""Models that mnc train does not start from random weights."""

import dataclasses
import re
import warnings

from flax import traverse_util
import jax
import pytest

from helpers.toy_sets import make_source
from mnc_jax import configs, weights
from mnc_jax.config import Config, ModelConfig
from mnc_jax.data import checksum_images
from mnc_jax.model.parameters import init_params
from mnc_jax.training import initial_state


@pytest.mark.parametrize(("fields", "message"), [
    ({}, "2 blocks of the vgg16 backbone are frozen.*init-weights.*frozen-blocks 0"),
    ({"backbone": "resnet50"}, "normalisation of the resnet50 .* frozen.*backbone-norm group"),
    ({"backbone": "resnet50", "backbone_norm": "group"}, "2 blocks of the resnet50 backbone"),
    ({"backbone": "resnet101", "frozen_blocks": 0}, "batch normalisation of the resnet101"),
])
def test_frozen_parts_need_weights(fields, message):
  with pytest.raises(ValueError, match=message):
    initial_state.check_fresh_start(ModelConfig(**fields))


@pytest.mark.parametrize("fields", [
    {"backbone": "small"}, {"frozen_blocks": 0},
    {"backbone": "resnet26", "backbone_norm": "group", "frozen_blocks": 0}])
def test_trained_parts_may_start_from_random_weights(fields):
  initial_state.check_fresh_start(ModelConfig(**fields))


def test_frozen_layers_that_a_file_lacks_are_named():
  config = Config(model=ModelConfig(num_categories=3, backbone="resnet50", frozen_blocks=1))
  params = jax.eval_shape(lambda: init_params(jax.random.key(0), config))
  names = list(traverse_util.flatten_dict(params, sep="/"))
  # conv5 is stage 3, of which a file of the backbone has nothing: a warning of its own.
  others = [name for name in names if not name.startswith("features")]
  report = weights.LoadReport("ResNet-50", (), ("features/pixel_mean", *others), ())
  initial_state.check_frozen(report, params, config, "w.pth")
  with pytest.raises(ValueError, match="w.pth lacks 1 arrays of .* as features/conv1/kernel"):
    initial_state.check_frozen(
        report._replace(initialised=("features/conv1/kernel",)), params, config, "w.pth")


def test_a_vgg_without_its_dense_layers_is_a_warning():
  report = weights.LoadReport("VGG-16", (), ("category_stage/fc6/kernel",), ())
  advise = initial_state.advise_dense_layers
  assert advise(report, Config()).startswith("no fc6 and fc7 of VGG-16 are loaded")
  assert not advise(report, Config(model=ModelConfig(normalize=True)))
  assert not advise(report, Config(model=ModelConfig(backbone="resnet50")))
  assert not advise(report._replace(initialised=("mask_stage/mask/kernel",)), Config())


@pytest.mark.parametrize(("fields", "warned"), [
    ({}, True), ({"backbone_norm": "group"}, False), ({"pyramid_stride": 8}, False)])
def test_conv5_without_its_frozen_normalisations_is_a_warning(fields, warned):
  model = ModelConfig(num_categories=3, backbone="resnet26", frozen_blocks=0, **fields)
  params = jax.eval_shape(lambda: init_params(jax.random.key(0), Config(model=model)))
  heads = [name for name in traverse_util.flatten_dict(params, sep="/")
           if not name.startswith("features")]
  report = weights.LoadReport("a model of mnc_jax", (), tuple(heads), ())
  advice = initial_state.advise_conv5(report)
  assert advice.startswith("conv5_x of stage 3 starts from random weights") == warned
  loaded = tuple(name for name in heads if "/conv5" not in name)
  assert not initial_state.advise_conv5(report._replace(initialised=loaded))


@pytest.mark.parametrize(("name", "diverges"), [
    ("release", True), ("paper", True), ("voc_vgg16_release", False), ("voc_vgg16_mnc5", False),
    ("coco_vgg16_mnc5", False), ("coco_mini_overfit", False), ("coco_mini_release", False)])
def test_a_schedule_without_a_gentle_start_is_named(name, diverges):
  report = weights.LoadReport("VGG-16", (), ("category_stage/fc6/kernel",), ())
  advice = initial_state.advise_dense_layers(report, configs.get(name))
  assert ("--train.warmup-steps 500 --train.clip-norm 10" in advice) == diverges


def test_a_run_that_resumes_with_other_images_says_so():
  before, more, larger = (make_source(sizes) for sizes in (
      [(8, 9), (7, 6)], [(8, 9), (7, 6), (5, 5)], [(8, 9), (7, 7)]))
  notes = {"images": {"count": 2, "checksum": checksum_images(before)}}
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    initial_state.warn_of_other_images(notes, before)
    initial_state.warn_of_other_images({"source": "random weights"}, more)
  renamed = dataclasses.replace(before, file_names=("a.png", "b.png"))
  for source in (more, larger, renamed):
    with pytest.warns(UserWarning, match=rf"toy: the {len(source)} images are not the 2 that"):
      initial_state.warn_of_other_images(notes, source)


@pytest.mark.parametrize(("backbone", "file"), [
    ("vgg16", "vgg16-397923af.pth"), ("resnet50", "resnet50-0676ba61.pth"),
    ("resnet101", "resnet101-63fe2227.pth")])
def test_the_message_says_where_weights_are_and_what_learns_without(backbone, file):
  with pytest.raises(ValueError, match="random weights") as error:
    initial_state.check_fresh_start(
        ModelConfig(backbone=backbone, backbone_norm="group", frozen_blocks=2))
  message = str(error.value)
  assert f"timm/{backbone}.tv_in1k" in message
  assert file in message
  named = re.findall(r"--config (\w+)", message)
  assert named
  for name in named:
    initial_state.check_fresh_start(configs.get(name).model)
