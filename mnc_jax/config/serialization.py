"""A config as JSON: how checkpoints and weight files keep it."""

from collections.abc import Iterator
import copy
import dataclasses
import json
import math
import typing
from typing import Any

from mnc_jax.config import Config
from mnc_jax.config.extensions import check_names
from mnc_jax.config.section import describe_type, fits


def to_json(config: Config) -> str:
  """Returns `config` as indented JSON."""
  return json.dumps(dataclasses.asdict(config), indent=2)


# What names files of one machine.
_PATHS = {
    "data": ("data_dir", "train_annotations", "train_images", "eval_annotations", "eval_images"),
    # Without a file, how it is loaded means nothing either.
    "train": ("init_weights", "init_reset_categories", "init_only_backbone")}


def without_paths(config: Config) -> Config:
  """Returns `config` with the defaults for fields that name files or folders of one machine."""
  return dataclasses.replace(config, **{
      section: dataclasses.replace(
          getattr(config, section),
          **{name: getattr(getattr(Config(), section), name) for name in names})
      for section, names in _PATHS.items()})


def differing_fields(one: object, other: object, *, path: str = ""
                     ) -> Iterator[tuple[str, Any, Any]]:
  """Yields (path, value, other value) of the fields that differ between two configs."""
  assert dataclasses.is_dataclass(one)
  for field in dataclasses.fields(one):
    name, a, b = f"{path}{field.name}", getattr(one, field.name), getattr(other, field.name)
    if dataclasses.is_dataclass(a):
      yield from differing_fields(a, b, path=f"{name}.")
    elif a != b:
      yield name, a, b


# Fields of older versions, in checkpoints and weight files that are still read, and today's paths.
_RENAMED = {
    "model.trunk": "model.backbone",
    "model.trunk_norm": "model.backbone_norm",
    "model.trunk_widths": "model.backbone_widths",
    "train.init_only_trunk": "train.init_only_backbone",
    "train.truth_in_stage_4": "train.gt_in_stage_4",
    "inference.suppression": "inference.nms",
} | {f"{section}.{old}": f"{section}.proposals.{new}" for section in ("train", "inference")
     for old, new in (("pre_nms", "pre_nms"), ("proposal_nms_iou", "nms_iou"),
                      ("num_proposals", "num_proposals"), ("min_box_size", "min_box_size"))}


# Fields that older versions did not have, and what these versions did.
_ABSENT = {"model": {"mask_resize": "bilinear", "roi_border": "zero"}}


def from_json(text: str) -> Config:
  """Returns the config that `to_json` wrote as `text`.

  Fields that the version which wrote it did not have are set to what that version did; others
  that are absent keep their defaults.

  Raises:
    ValueError: if a section or field is unknown, a value is of the wrong type, or a backbone is
      neither built in nor registered, naming it.
  """
  try:
    content = json.loads(text)
  except RecursionError:
    raise ValueError("a config is a JSON object of sections, found one nested too deep") from None
  config = _read(Config(), _add_fields(_rename_fields(content)), "")
  check_names(config)
  return config


def _rename_fields(content):
  """Returns `content` with the fields of older versions under today's names."""
  if not isinstance(content, dict):
    return content
  renamed = copy.deepcopy(content)
  for old, new in _RENAMED.items():
    section, field = old.split(".")
    if not isinstance(renamed.get(section), dict) or field not in renamed[section]:
      continue
    *outer, name = new.split(".")
    target = renamed[section]
    for key in outer[1:]:
      target = target.setdefault(key, {})
    if not isinstance(target, dict):
      raise ValueError(f"config section {'.'.join(outer)!r} is a JSON object, found {target!r:.60}")
    if name in target:
      raise ValueError(f"config field {old!r} is an older name of {new!r}: keep one of them")
    target[name] = renamed[section].pop(field)
  return renamed


def _add_fields(content):
  """Returns `content` with the fields that older versions did not have."""
  if not isinstance(content, dict):
    return content
  return content | {section: fields | content[section] for section, fields in _ABSENT.items()
                    if isinstance(content.get(section), dict)}


def _read(defaults, content, path):
  """Returns the dataclass `defaults`, at `path` of the config, with the fields in `content`."""
  if not isinstance(content, dict):
    kind = f"config section {path!r}" if path else "a config"
    raise ValueError(f"{kind} is a JSON object, found {content!r:.60}")
  hints, fields = typing.get_type_hints(type(defaults)), {}
  for name, value in content.items():
    where = f"{path}.{name}" if path else name
    if name not in hints:
      raise ValueError(f"unknown config field {where!r}; known are {sorted(hints)}")
    if dataclasses.is_dataclass(hints[name]):
      fields[name] = _read(getattr(defaults, name), value, where)
      continue
    fields[name] = _as_tuple(value)
    if not (fits(fields[name], hints[name]) and is_usable(fields[name])):
      raise ValueError(f"config field {where} must be {describe_type(hints[name])}, "
                       f"found {value!r:.60}")
  return dataclasses.replace(defaults, **fields)


def is_usable(value: object) -> bool:
  """Returns whether `value` survives JSON: no number, finite, whole within 64 bits, or of these."""
  if isinstance(value, tuple):
    return all(map(is_usable, value))
  if isinstance(value, float):
    return math.isfinite(value)
  return not isinstance(value, int) or abs(value) < 2**63


def _as_tuple(value):
  # JSON has no tuples; lists would make the config unhashable.
  return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value
