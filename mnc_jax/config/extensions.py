"""Backbones, losses and readers that a program adds, under the names that configs have for them.

A config holds a name, never code, so that reading one from a file runs nothing. What a name stands
for is registered in the program that uses it.
"""

import difflib
import operator
import re
import typing
from typing import Any, NamedTuple

from mnc_jax.config import Config
from mnc_jax.config.data import DatasetName
from mnc_jax.config.model import BackboneName

BACKBONES: tuple[str, ...] = typing.get_args(BackboneName)
"""The backbones of the library."""


class _Field(NamedTuple):
  """The names that a field has in the library itself, and how a program adds one."""
  built_in: tuple[str, ...]
  how: str


_FIELDS = {
    "model.backbone": _Field(BACKBONES, "mnc_jax.register_backbone({name!r}, ...)"),
    "train.box_loss": _Field(("paper",), "mnc_jax.register_loss('box', {name!r}, ...)"),
    "train.mask_loss": _Field(("paper",), "mnc_jax.register_loss('mask', {name!r}, ...)"),
    "train.category_loss": _Field(("paper",), "mnc_jax.register_loss('category', {name!r}, ...)"),
    "data.dataset": _Field(typing.get_args(DatasetName), "mnc_jax.register_reader({name!r}, ...)")}
# Names are also names of folders, and of TFDS builders.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

# By field and name. The only global state of the library: configs are values that travel in files,
# and what they name cannot.
_ADDED: dict[str, dict[str, Any]] = {field: {} for field in _FIELDS}


def register(field: str, name: str, value: Any) -> bool:
  """Registers what `name` stands for in a field of configs.

  Args:
    field: of the config, "model.backbone".
    name: lower-case letters, digits and underscores.
    value: what `find` returns.

  Returns:
    Whether it replaces another value of this name.

  Raises:
    ValueError: if the name is one of the library's, or no name.
  """
  check_name(field, name)
  if name in _FIELDS[field].built_in:
    raise ValueError(f"{field} {name!r} is part of mnc_jax: choose another name")
  replaces = name in _ADDED[field] and _ADDED[field][name] is not value
  _ADDED[field][name] = value
  return replaces


def check_name(field: str, name: str) -> None:
  """Raises ValueError if `name` cannot be one of `field`."""
  if not isinstance(name, str) or not _NAME.fullmatch(name):
    raise ValueError(f"{field} is {name!r:.60}: a name has lower-case letters, digits and "
                     "underscores, and begins with a letter")


def is_registered(field: str, name: str) -> bool:
  """Returns whether a program added this name."""
  return name in _ADDED[field]


def find(field: str, name: str) -> Any:
  """Returns what a registered name stands for.

  Raises:
    ValueError: if it is not registered, naming what is known, and how to register it.
  """
  check_known(field, name)
  return _ADDED[field][name]


def check_known(field: str, name: str) -> None:
  """Raises ValueError unless `name` is built in or registered."""
  check_name(field, name)
  known = [*_FIELDS[field].built_in, *_ADDED[field]]
  if name in known:
    return
  near = difflib.get_close_matches(name, known, n=1)
  hint = f" (did you mean {near[0]!r}?)" if near else ""
  raise ValueError(
      f"{field} is {name!r}, which is not known here{hint}: known are "
      f"{', '.join(known)}. One of your own is registered by the program before it is used: "
      f"{_FIELDS[field].how.format(name=name)}")


def check_names(config: Config) -> None:
  """Raises for names in a config that cannot be used, or that need code which is not there.

  Without its backbone a model cannot be built. A loss is only needed to train, and a reader only to
  prepare its set, so theirs may be unknown.

  Raises:
    ValueError: naming the field.
  """
  for field in _FIELDS:
    check_name(field, operator.attrgetter(field)(config))
  check_known("model.backbone", config.model.backbone)
