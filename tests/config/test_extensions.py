"""Names of backbones, losses and readers that a program registers, in configs that travel."""

import json

import pytest

from helpers import tiny
from mnc_jax.config import Config, extensions
from mnc_jax.config.serialization import from_json, to_json
from mnc_jax.config.validation import check_effects, check_values

pytestmark = pytest.mark.usefixtures("own_registry")


def with_backbone(name, **fields):
  return tiny.override(Config(), model={"backbone": name, **fields})


def test_a_registered_backbone_survives_json_and_an_unknown_one_is_named():
  text = to_json(with_backbone("mine"))
  with pytest.raises(ValueError, match=(
      r"model\.backbone is 'mine', which is not known here: known are vgg16, .*small\. .*"
      r"mnc_jax\.register_backbone\('mine', \.\.\.\)")):
    from_json(text)
  assert not extensions.register("model.backbone", "mine", len)
  assert from_json(text).model.backbone == "mine"
  assert extensions.find("model.backbone", "mine") is len


def test_a_typing_error_is_corrected():
  with pytest.raises(ValueError, match="is 'vgg', .*did you mean 'vgg16'"):
    check_values(with_backbone("vgg"))


def test_registering_another_value_replaces_the_first():
  register = lambda value: extensions.register("data.dataset", "x", value)
  assert [register(len), register(len), register(sum)] == [False, False, True]
  assert extensions.find("data.dataset", "x") is sum


@pytest.mark.parametrize(("name", "message"), [
    ("vgg16", "'vgg16' is part of mnc_jax"), ("../vgg", "is '../vgg': a name has lower-case"),
    ("Mine", "lower-case"), ("", "lower-case"), (3, "model.backbone is 3")])
def test_names_of_the_library_and_impossible_names_are_rejected(name, message):
  with pytest.raises(ValueError, match=message):
    extensions.register("model.backbone", name, len)


@pytest.mark.parametrize(("section", "field"), [("data", "dataset"), ("train", "mask_loss")])
def test_names_that_are_only_needed_for_training_are_read_but_cannot_be_paths(section, field):
  content = json.loads(to_json(Config()))
  content[section][field] = "mine"
  assert getattr(getattr(from_json(json.dumps(content)), section), field) == "mine"
  content[section][field] = "../../mine"
  with pytest.raises(ValueError, match=rf"{section}\.{field} is '../../mine': a name has"):
    from_json(json.dumps(content))


def test_a_registered_backbone_may_use_the_fields_of_the_others():
  extensions.register("model.backbone", "mine", len)
  fields = {"backbone_widths": (8, 9), "resnet_width": 3, "backbone_norm": "group",
            "frozen_blocks": 7}
  check_effects(with_backbone("mine", **fields))
  check_values(with_backbone("mine", **fields))
