"""A config as JSON: how checkpoints and weight files keep it."""

import dataclasses
import json
import math
import typing

from mnc_jax.config import Config


def to_json(config: Config) -> str:
  """Returns `config` as indented JSON."""
  return json.dumps(dataclasses.asdict(config), indent=2)


def from_json(text: str) -> Config:
  """Returns the config that `to_json` wrote as `text`; what is absent there keeps its default.

  Raises:
    ValueError: if a section or field is unknown, or a value is of the wrong type, naming it.
  """
  sections = typing.get_type_hints(Config)
  try:
    content = json.loads(text)
  except RecursionError:
    raise ValueError("a config is a JSON object of sections, found one nested too deep") from None
  if not isinstance(content, dict):
    raise ValueError(f"a config is a JSON object of sections, found {content!r:.60}")
  parts = {}
  for name, values in content.items():
    if name not in sections:
      raise ValueError(f"unknown config section {name!r}; known are {sorted(sections)}")
    parts[name] = _read_section(name, sections[name], values)
  return Config(**parts)


def _read_section(section, cls, values):
  if not isinstance(values, dict):
    raise ValueError(f"config section {section!r} is an object of fields, found {values!r:.60}")
  known = {field.name: field.type for field in dataclasses.fields(cls)}
  fields = {name: _as_tuple(value) for name, value in values.items()}
  for name, value in fields.items():
    if name not in known:
      raise ValueError(f"unknown config field {section}.{name}")
    if not _fits(value, known[name]):
      asked = known[name].__name__ if known[name] in _PLAIN else known[name]
      raise ValueError(f"config field {section}.{name} must be {asked}, found {value!r:.60}")
  return cls(**fields)


_PLAIN = (bool, int, float, str)


def is_usable(value) -> bool:
  """Says whether a `value` is finite and, if whole, fits 64 bits; what is no number is usable."""
  if isinstance(value, float):
    return math.isfinite(value)
  return not isinstance(value, int) or abs(value) < 2**63


def _as_tuple(value):
  # JSON has no tuples; lists would make the config unhashable.
  return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


def _fits(value, hint):
  if hint in _PLAIN:
    # A whole number may stand for a float; a bool is no int here, though Python thinks so.
    return (type(value) is hint or (hint is float and type(value) is int)) and is_usable(value)
  arguments = typing.get_args(hint)
  if typing.get_origin(hint) is typing.Literal:
    return any(type(value) is type(choice) and value == choice for choice in arguments)
  if not isinstance(value, tuple):
    return False
  items = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
  return len(value) == len(items) and all(map(_fits, value, items))
